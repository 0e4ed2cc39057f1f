"""The informers of a master, and the hub of its nodes that follows some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from common.api.resource import Resource
from common.client.informer import Informer
from common.client.informers import Informers
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from common.security.kubeconfigs import NAMESPACE
from master.apiserver.auth.trust import Trust
from master.apiserver.local import LocalClient
from master.apiserver.registry.catalogue import Catalogue
from master.config import MasterConfig
from master.controllers.certificates import kubeconfigs
from master.nodes.hub import Cidrs, NodeHub
from master.pki.pki import Pki
from master.pki.rotation import NodeState, Rotation
from master.wiring.registry import Reported


def informers(catalogue: Catalogue, client: LocalClient, clock: Clock, rng: Rng) -> Informers:
    """One for each resource that is stored, while it is in the catalogue."""
    made = Informers(
        {
            resource.group_resource: Informer(client, resource, clock=clock, rng=rng)
            for resource in catalogue.scheme.resources()
            if catalogue.require(resource).is_stored
        }
    )

    def follow(resource: Resource) -> None:
        definition = catalogue.get(resource)
        made.remove(resource)
        if definition is not None and definition.is_stored:
            made.add(Informer(client, definition.resource, clock=clock, rng=rng))

    catalogue.follow(follow)
    return made


def hub(
    config: MasterConfig,
    known: Mapping[str, Informer],
    trust: Trust,
    reported: Reported,
    *,
    clock: Clock,
) -> NodeHub:
    """It tells nodes what the informers say, and keeps what nodes say."""
    told = ("pods", "configmaps", "secrets", "services", "runtimeclasses.node.k8s.io")
    made = NodeHub(
        {name: known[name].lister for name in told},
        heartbeats=reported.heartbeats,
        usages=reported.usages,
        cidrs=Cidrs(config.cluster_cidr, config.service_cidr),
        problem=trust.problem,
        clock=clock,
    )
    for name, handler in (
        ("nodes", made.node_changed),
        ("pods", made.pod_changed),
        ("configmaps", made.config_changed),
        ("secrets", made.config_changed),
        ("runtimeclasses.node.k8s.io", made.config_changed),
    ):
        known[name].add_handler(handler)
    return made


def rotation(
    pki: Pki, hub: NodeHub, trust: Trust, known: Mapping[str, Informer], clock: Clock
) -> Rotation:
    """It waits for no node that has no rights, and for no kubeconfig that has expired."""

    def nodes() -> dict[str, NodeState]:
        streams = hub.streams
        names = [item.name for item in known["nodes"].lister.list()]
        states = {name: NodeState(False) for name in names if not trust.is_shut_out(name)}
        for name in states.keys() & streams.keys():
            stream = streams[name]
            states[name] = NodeState(True, stream.identity.authority, stream.trusts)
        return states

    def former_kubeconfigs() -> Iterator[str]:
        records = known["secrets"].lister.list(NAMESPACE)
        return kubeconfigs.of_others(records, pki.client_ca.signer_id, clock.now())

    return Rotation(pki, nodes, former_kubeconfigs)
