"""The one place that knows which part gets which.

Takes what differs between a real master and a simulated one (store, clock, randomness) as
arguments.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from common.client.informer import Informer
from common.limits.unread import Unread
from common.runtime.clock import Clock
from common.runtime.parts import Part, Parts
from common.runtime.rng import Rng
from master.apiserver.auth.authenticator import Authenticator
from master.apiserver.auth.authorizer import Authorizer, Problem
from master.apiserver.auth.authorizers.node import NodeAuthorizer
from master.apiserver.auth.authorizers.rbac import Policy
from master.apiserver.auth.jointokens import JoinTokens
from master.apiserver.auth.live import LiveCalls
from master.apiserver.auth.serviceaccounts import ServiceAccounts
from master.apiserver.auth.trust import Trust
from master.apiserver.local import LocalClient
from master.apiserver.registry.registry import Registry
from master.apiserver.request.audit import AuditLog
from master.apiserver.request.chain import Chain
from master.apiserver.rest.outflow import UNREAD_MAX_BYTES
from master.apiserver.rest.paths import Paths
from master.apiserver.rest.resources import Resources
from master.apiserver.rest.server import RestServer
from master.apiserver.rpc.access import Access
from master.apiserver.rpc.cluster import ClusterService
from master.apiserver.rpc.gateway import Gateway
from master.apiserver.rpc.nodes import NodeService
from master.config import MasterConfig
from master.nodes.hub import NodeHub
from master.nodes.reports import Reports
from master.nodes.sessions import NodeSessions
from master.pki.pki import Pki
from master.pki.renewal import Renewable
from master.pki.rotation import Rotation
from master.storage.health import EtcdHealth
from master.storage.store import Store
from master.storage.watchcache import WatchCache
from master.wiring import components
from master.wiring.nodes import hub, informers, rotation
from master.wiring.parts import (
    Recorders,
    controllers,
    housekeeping,
    informing,
    renewals,
    scheduler,
)
from master.wiring.registry import Reported, Tokens, pipeline, registry
from protos import node_v1_pb2

log = logging.getLogger(__name__)
AUDIT_LOG = "audit.log"


@dataclass(slots=True)
class Master:
    """A master that is put together and not yet running."""

    rest: RestServer
    nodes: NodeService
    scripts: ClusterService
    access: Access
    gateway: Gateway
    registry: Registry
    chain: Chain
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
    accounts = ServiceAccounts(pki.account_keys, cache, clock)
    problem = _problem(trust, accounts)
    authorizer = Authorizer(NodeAuthorizer(cache), Policy(), problem)
    live = LiveCalls(problem, clock)
    tokens = Tokens(accounts, _authenticator(pki, accounts, cache, clock))
    reported = Reported({}, {})
    written = pipeline(config, store, cache, authorizer, clock=clock, rng=rng)
    sessions = NodeSessions(rng=rng)
    served = registry(config, written, authorizer, tokens, reported, sessions)
    chain = _chain(config, served, tokens.authenticator, authorizer, live, clock=clock, rng=rng)
    client_of = partial(LocalClient, served, chain)
    known = informers(served.catalogue, client_of(components.APISERVER), clock, rng)
    authorizer.policy.follow(known)
    nodes_hub = hub(config, known, trust, reported, clock=clock)
    recorder = Recorders(client_of, clock)
    reports = Reports(chain, served.pipeline)
    trust_of = partial(_trust_of, pki)
    pki.watch(lambda: nodes_hub.tell_trust(trust_of))
    kubelets = recorder("kubelet", components.APISERVER)
    nodes = NodeService(
        nodes_hub, reports, sessions, trust, trust_of, kubelets, chain=chain, clock=clock
    )
    running = [*housekeeping(store, clock), Part("calls that last", live.run)]
    running += renewals((pki.renewable(), *renewed), clock)
    running += controllers(config, pki, client_of, known, nodes_hub, recorder, clock=clock, rng=rng)
    if not config.disable_scheduler:
        running.append(scheduler(config, client_of, known, recorder, clock))
    running += [*informing(known), Part("network of nodes", nodes_hub.tell_network)]
    running += recorder.parts()
    parts = Parts(running, clock)
    access, unread = Access(chain), Unread(UNREAD_MAX_BYTES, clock)
    rotating = rotation(pki, nodes_hub, trust, known, clock)
    rest = RestServer(
        chain=chain,
        paths=_paths(config, pki, served, cache, known, parts, rotating, health, stopping),
        resources=Resources(served, chain, clock=clock, unread=unread),
        clock=clock,
        unread=unread,
    )
    return Master(
        rest=rest,
        nodes=nodes,
        scripts=ClusterService(served, access, nodes_hub, unread=unread, clock=clock),
        access=access,
        gateway=Gateway(cache, authorizer, trust.problem, clock=clock),
        registry=served,
        chain=chain,
        parts=parts,
        end_streams=partial(_end_streams, cache, sessions, nodes_hub),
    )


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


def _chain(
    config: MasterConfig,
    served: Registry,
    authenticator: Authenticator,
    authorizer: Authorizer,
    live: LiveCalls,
    *,
    clock: Clock,
    rng: Rng,
) -> Chain:
    """What every call passes."""
    return Chain(
        authenticator=authenticator,
        authorizer=authorizer,
        check_verb=served.check_verb,
        audit=AuditLog(Path(config.data_dir) / AUDIT_LOG, clock, rng.uuid),
        live=live,
        backlog=served.pipeline.backlog,
        clock=clock,
    )


def _end_streams(cache: WatchCache, sessions: NodeSessions, hub: NodeHub) -> None:
    cache.end_watches()
    sessions.stop()
    hub.stop()


def _trust_of(pki: Pki, authority: str) -> node_v1_pb2.Trust:
    """What a node is told whose certificate is of that authority."""
    renew = authority != pki.client_ca.signer_id
    return node_v1_pb2.Trust(authorities=pki.server_ca.trusted, renew=renew)


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
        catalogue=registry.catalogue,
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
        keys=pki.account_keys,
    )


def _unsynced(informers: Mapping[str, Informer]) -> str:
    waiting = [name for name, informer in informers.items() if not informer.synced.is_set()]
    return f"not synced: {', '.join(waiting)}" if waiting else ""


def _degraded(parts: Parts, health: EtcdHealth | None) -> dict[str, str]:
    trouble = health.trouble() if health else ""
    return parts.problems(essential=False) | ({"etcd": trouble} if trouble else {})


def _in_words(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {problem}" for name, problem in problems.items())
