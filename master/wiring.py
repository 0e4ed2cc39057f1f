"""Puts a master together: the one place that knows which part gets which.

Takes what differs between a real master and a simulated one (store, clock, randomness) as
arguments.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

from common.api.scheme import SCHEME
from common.client.events import Correlator, EventRecorder
from common.client.informer import Informer
from common.runtime.clock import Clock
from common.runtime.memory import GarbageKeeper, MemoryKeeper
from common.runtime.offload import Offload
from common.runtime.parts import Part, Parts
from common.runtime.rng import Rng
from common.runtime.stalls import StallWatch
from common.runtime.unread import Unread
from common.security.kubeconfigs import NAMESPACE
from master.apiserver.admission.chain import admission
from master.apiserver.auth.accounttokens import TokenKey
from master.apiserver.auth.authenticator import Authenticator
from master.apiserver.auth.authorizer import Authorizer, Problem
from master.apiserver.auth.authorizers.node import NodeAuthorizer
from master.apiserver.auth.authorizers.rbac import Policy
from master.apiserver.auth.jointokens import JoinTokens
from master.apiserver.auth.live import LiveCalls
from master.apiserver.auth.serviceaccounts import ServiceAccounts
from master.apiserver.auth.trust import Trust
from master.apiserver.local import LocalClient
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.reads import Reads
from master.apiserver.registry.registry import Registry
from master.apiserver.resources.apps.scale import ScaleSubresource
from master.apiserver.resources.authentication.tokenreview import TokenReviews
from master.apiserver.resources.authorization.reviews import reviews
from master.apiserver.resources.certificates.certificatesigningrequest import Approval
from master.apiserver.resources.coordination.lease import LeaseView
from master.apiserver.resources.core.event import EventView
from master.apiserver.resources.core.namespace.finalize import Finalize
from master.apiserver.resources.core.pod.binding import BindingSubresource
from master.apiserver.resources.core.tokenrequest import TokenSubresource
from master.apiserver.resources.metrics.metrics import NodeMetricsView, PodMetricsView, labels_in
from master.apiserver.resources.strategies import strategies
from master.apiserver.rest.logs import PodLogs
from master.apiserver.rest.outflow import UNREAD_MAX_BYTES
from master.apiserver.rest.paths import Paths
from master.apiserver.rest.resources import Resources
from master.apiserver.rest.server import RestServer
from master.apiserver.rpc.access import Access
from master.apiserver.rpc.cluster import ClusterService
from master.apiserver.rpc.gateway import Gateway
from master.apiserver.rpc.nodes import NodeService
from master.config import MasterConfig
from master.controllers.base import ControllerRunner
from master.controllers.certificates import kubeconfigs
from master.controllers.namespaces.rootca import RootCaController
from master.controllers.nodes.signsoflife import SignsOfLife
from master.controllers.registry import ClusterFacts, controllers
from master.nodes.hub import Cidrs, NodeHub
from master.nodes.reports import Reports
from master.nodes.sessions import NodeSessions
from master.pki.pki import Pki
from master.pki.renewal import Renewable, RenewalLoop
from master.pki.rotation import NodeState, Rotation
from master.scheduler.own.process import OwnScheduler
from master.scheduler.service import OwnLane, Scheduler
from master.storage.compactor import Compactor
from master.storage.health import EtcdHealth
from master.storage.store import Store
from master.storage.watchcache import WatchCache
from protos import node_v1_pb2

log = logging.getLogger(__name__)
# Resources whose objects are computed or shown elsewhere: nobody keeps a copy of them.
NOT_INFORMED = ("metrics.k8s.io", "events.k8s.io")


class _Tokens(NamedTuple):
    """Who knows the tokens of service accounts, and who knows all credentials."""

    accounts: ServiceAccounts
    authenticator: Authenticator


@dataclass(slots=True)
class Master:
    """A master that is put together and not yet running."""

    rest: RestServer
    nodes: NodeService
    scripts: ClusterService
    access: Access
    gateway: Gateway
    registry: Registry
    parts: Parts
    """What must run for as long as the master does."""
    end_streams: Callable[[], None]
    """Ends what would not end by itself: watches, followed logs, and the nodes' streams."""


def build(
    config: MasterConfig,
    pki: Pki,
    store: Store,
    cache: WatchCache,
    health: EtcdHealth | None = None,
    *,
    stopping: asyncio.Event,
    clock: Clock,
    rng: Rng,
    renewed: Sequence[Renewable] = (),
) -> Master:
    """A master over a store whose watch cache is ready.

    `health` is that of the etcd below it, `renewed` what else must be renewed. From when
    `stopping` is set the master says that it is not ready.
    """
    trust = Trust(cache, clock, lambda authority: authority in pki.client_ca.key_ids)
    accounts = ServiceAccounts(TokenKey(pki.account_key), cache, clock)
    problem = _problem(trust, accounts)
    live = LiveCalls(problem, clock)
    authorizer = Authorizer(NodeAuthorizer(cache), Policy(), problem)
    authenticator = _authenticator(pki, accounts, cache, clock)
    tokens = _Tokens(accounts, authenticator)
    registry, informers, hub = _registry(
        config, store, cache, trust, authorizer, tokens, clock=clock, rng=rng
    )
    recorders: dict[str, EventRecorder] = {}

    def recorder(component: str) -> EventRecorder:
        if component not in recorders:
            client = LocalClient(registry, f"system:{component}")
            recorders[component] = EventRecorder(client, Correlator(component), clock=clock)
        return recorders[component]

    sessions = NodeSessions(clock=clock, rng=rng)
    reports = Reports(registry.pipeline)
    trust_of = partial(_trust_of, pki)
    pki.watch(lambda: hub.tell_trust(trust_of))
    nodes = NodeService(hub, reports, sessions, trust, trust_of, recorder("kubelet"), clock=clock)
    running = [*_housekeeping(store, clock), Part("calls that last", live.run)]
    running += [
        Part(f"certificates of {one.name}", RenewalLoop(one, clock).run)
        for one in (pki.renewable(), *renewed)
    ]
    running += _controllers(config, pki, registry, informers, hub, recorder, clock=clock, rng=rng)
    if not config.disable_scheduler:
        running.append(_scheduler(config, registry, informers, recorder, clock))
    for name, informer in informers.items():
        running.append(Part(f"informer {name}", informer.run, essential=True))
    running.append(Part("network of nodes", hub.tell_network))
    running += [Part(f"events of {name}", made.run) for name, made in recorders.items()]
    parts = Parts(running, clock)
    access = Access(authenticator, authorizer, live)
    unread = Unread(UNREAD_MAX_BYTES, clock)
    rotation = _rotation(pki, hub, trust, informers, clock)
    rest = RestServer(
        authenticator=authenticator,
        authorizer=authorizer,
        paths=_paths(config, pki, registry, cache, informers, parts, rotation, health, stopping),
        resources=Resources(registry, PodLogs(registry, sessions), clock=clock, unread=unread),
        live=live,
        clock=clock,
        unread=unread,
    )
    scripts = ClusterService(registry, access, sessions, hub, clock=clock)
    gateway = Gateway(cache, trust.problem, clock=clock)
    end_streams = partial(_end_streams, cache, sessions, hub)
    return Master(rest, nodes, scripts, access, gateway, registry, parts, end_streams)


def _problem(trust: Trust, accounts: ServiceAccounts) -> Problem:
    """Why credentials do not count, whichever somebody has."""
    return lambda identity: (accounts if identity.bound else trust).problem(identity)


def _authenticator(
    pki: Pki, accounts: ServiceAccounts, cache: WatchCache, clock: Clock
) -> Authenticator:
    return Authenticator(
        admin_token=pki.admin_token,
        account_token=accounts.recognize,
        join_token=JoinTokens(cache, clock).check,
        clock=clock,
    )


def _housekeeping(store: Store, clock: Clock) -> list[Part]:
    """The parts that look after the store's history and after this process."""
    return [
        Part("compactor", Compactor(store, clock).run),
        Part("memory", MemoryKeeper(clock).run),
        Part("garbage", GarbageKeeper(clock).run),
        Part("stall watch", StallWatch().run),
    ]


def _end_streams(cache: WatchCache, sessions: NodeSessions, hub: NodeHub) -> None:
    cache.end_watches()
    sessions.stop()
    hub.stop()


def _trust_of(pki: Pki, authority: str) -> node_v1_pb2.Trust:
    """What a node is told whose certificate is of that authority."""
    renew = authority != pki.client_ca.signer_id
    return node_v1_pb2.Trust(authorities=pki.server_ca.trusted, renew=renew)


def _scheduler(
    config: MasterConfig,
    registry: Registry,
    informers: Mapping[str, Informer],
    recorder: Callable[[str], EventRecorder],
    clock: Clock,
) -> Part:
    client = LocalClient(registry, "system:kube-scheduler")
    own = _own_scheduler(config, recorder, clock)
    events = recorder("default-scheduler")
    return Part("scheduler", Scheduler(client, informers, events, clock=clock, own=own).run)


def _paths(
    config: MasterConfig,
    pki: Pki,
    registry: Registry,
    cache: WatchCache,
    informers: Mapping[str, Informer],
    parts: Parts,
    rotation: Rotation,
    health: EtcdHealth | None,
    stopping: asyncio.Event,
) -> Paths:
    """What is served outside of the resources."""
    return Paths(
        scheme=SCHEME,
        ca_pem=lambda: pki.server_ca.trusted,
        rotation=rotation,
        ports={"certificates": config.node_port, "tokens": config.script_port},
        address=f"{config.advertise_address}:{config.secure_port}",
        version=metadata.version("wherry"),
        checks={
            "ping": lambda: "",
            "shutdown": lambda: "the master is stopping" if stopping.is_set() else "",
            "etcd": lambda: health.silence() if health else "",
            "watch cache": lambda: "" if cache.ready else "it is not ready",
            "informers": lambda: _unsynced(informers),
            "parts": lambda: _in_words(parts.problems(essential=True)),
        },
        degraded=lambda: _degraded(parts, health),
        heavy=registry.pipeline.heavy,
        key=TokenKey(pki.account_key),
    )


def _rotation(
    pki: Pki, hub: NodeHub, trust: Trust, informers: Mapping[str, Informer], clock: Clock
) -> Rotation:
    """It waits for no node that has no rights, and for no kubeconfig that has expired."""

    def nodes() -> dict[str, NodeState]:
        streams = hub.streams
        names = [item.name for item in informers["nodes"].lister.list()]
        found = {name: NodeState(False) for name in names if not trust.is_shut_out(name)}
        for name in found.keys() & streams.keys():
            stream = streams[name]
            found[name] = NodeState(True, stream.identity.authority, stream.trusts)
        return found

    def former_kubeconfigs() -> Iterator[str]:
        records = informers["secrets"].lister.list(NAMESPACE)
        return kubeconfigs.of_others(records, pki.client_ca.signer_id, clock.now())

    return Rotation(pki, nodes, former_kubeconfigs)


def _controllers(
    config: MasterConfig,
    pki: Pki,
    registry: Registry,
    informers: Mapping[str, Informer],
    hub: NodeHub,
    recorder: Callable[[str], EventRecorder],
    *,
    clock: Clock,
    rng: Rng,
) -> list[Part]:
    """A part for each controller that is not switched off."""
    parts = []
    facts = ClusterFacts(
        ca_pem=lambda: pki.server_ca.trusted,
        address=config.advertise_address,
        port=config.secure_port,
        service_address=config.api_service_address,
    )
    signs = SignsOfLife(hub.silence_seconds, hub.heartbeats, clock.monotonic)
    for controller in controllers(facts, pki, signs):
        if controller.name not in config.disable_controllers:
            runner = ControllerRunner(
                controller,
                informers,
                LocalClient(registry, f"system:controller:{controller.name}"),
                recorder(f"{controller.name}-controller"),
                clock=clock,
                rng=rng,
            )
            parts.append(Part(f"controller {controller.name}", runner.run))
            if controller.name == RootCaController.name:
                pki.watch(runner.again)
    return parts


def _own_scheduler(
    config: MasterConfig, recorder: Callable[[str], EventRecorder], clock: Clock
) -> OwnLane | None:
    """The user's own scheduler, if one is configured."""
    if not config.scheduler_file:
        return None
    name, seconds = config.scheduler_file_name, config.scheduler_file_seconds
    scheduler = OwnScheduler(config.scheduler_file, seconds, clock=clock)
    return OwnLane(name=name, scheduler=scheduler, recorder=recorder(name))


def _unsynced(informers: Mapping[str, Informer]) -> str:
    waiting = [name for name, informer in informers.items() if not informer.synced.is_set()]
    return f"not synced: {', '.join(waiting)}" if waiting else ""


def _degraded(parts: Parts, health: EtcdHealth | None) -> dict[str, str]:
    trouble = health.trouble() if health else ""
    return parts.problems(essential=False) | ({"etcd": trouble} if trouble else {})


def _in_words(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {problem}" for name, problem in problems.items())


def _pipeline(
    config: MasterConfig,
    store: Store,
    cache: WatchCache,
    authorizer: Authorizer,
    *,
    clock: Clock,
    rng: Rng,
) -> Pipeline:
    """How objects of every kind are written."""
    return Pipeline(
        store=store,
        cache=cache,
        scheme=SCHEME,
        strategies=strategies(
            SCHEME, cluster_cidr=config.cluster_cidr, service_cidr=config.service_cidr, clock=clock
        ),
        admission=admission(
            cache, SCHEME, clock, rng, authorizer, allow_external_ips=config.allow_external_ips
        ),
        clock=clock,
        rng=rng,
        offload=Offload(threads=1, name="heavy"),
    )


def _registry(
    config: MasterConfig,
    store: Store,
    cache: WatchCache,
    trust: Trust,
    authorizer: Authorizer,
    tokens: _Tokens,
    *,
    clock: Clock,
    rng: Rng,
) -> tuple[Registry, dict[str, Informer], NodeHub]:
    """The registry, informers of every stored resource, and the hub of the nodes."""
    pipeline = _pipeline(config, store, cache, authorizer, clock=clock, rng=rng)
    heartbeats: dict[str, float] = {}
    usages: dict[str, Any] = {}
    registry = Registry(
        pipeline,
        Reads(store, cache),
        subresources={
            "scale": ScaleSubresource(pipeline),
            "binding": BindingSubresource(pipeline),
            "finalize": Finalize(pipeline),
            "approval": Approval(pipeline, authorizer),
            "token": TokenSubresource(pipeline, tokens.accounts.key),
        },
        computed={
            "nodes.metrics.k8s.io": NodeMetricsView(lambda: usages, labels_in(cache, "nodes")),
            "pods.metrics.k8s.io": PodMetricsView(lambda: usages, labels_in(cache, "pods")),
        },
        views={
            "events.events.k8s.io": EventView(SCHEME.require("", "v1", "events")),
            "leases.coordination.k8s.io": LeaseView(
                SCHEME.require("coordination.k8s.io", "v1", "leases"), heartbeats
            ),
        },
        reviews={
            **reviews(authorizer),
            "tokenreviews.authentication.k8s.io": TokenReviews(*tokens),
        },
    )
    client = LocalClient(registry, "system:apiserver")
    informers = {
        resource.group_resource: Informer(client, resource, clock=clock)
        for resource in SCHEME.resources()
        if resource.group not in NOT_INFORMED and "watch" in resource.verbs
    }
    told = ("pods", "configmaps", "secrets", "services")
    listers = {name: informers[name].lister for name in told}
    cidrs = Cidrs(config.cluster_cidr, config.service_cidr)
    hub = NodeHub(
        listers,
        heartbeats=heartbeats,
        usages=usages,
        cidrs=cidrs,
        problem=trust.problem,
        clock=clock,
    )
    for name, handler in (
        ("nodes", hub.node_changed),
        ("pods", hub.pod_changed),
        ("configmaps", hub.config_changed),
        ("secrets", hub.config_changed),
    ):
        informers[name].add_handler(handler)
    authorizer.policy.follow(informers)
    return registry, informers, hub
