"""The informers of a master, and the hub of its nodes that follows some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from common.api.scheme import SCHEME
from common.client.informer import Informer
from common.runtime.clock import Clock
from common.security.kubeconfigs import NAMESPACE
from master.apiserver.auth.trust import Trust
from master.apiserver.local import LocalClient
from master.config import MasterConfig
from master.controllers.certificates import kubeconfigs
from master.nodes.hub import Cidrs, NodeHub
from master.pki.pki import Pki
from master.pki.rotation import NodeState, Rotation
from master.wiring.registry import Reported

# Resources whose objects are computed or shown elsewhere: nobody keeps a copy of them.
NOT_INFORMED = ("metrics.k8s.io", "events.k8s.io")


def informers(client: LocalClient, clock: Clock) -> dict[str, Informer]:
    """One for each resource that is stored."""
    return {
        resource.group_resource: Informer(client, resource, clock=clock)
        for resource in SCHEME.resources()
        if resource.group not in NOT_INFORMED and "watch" in resource.verbs
    }


def hub(
    config: MasterConfig,
    known: Mapping[str, Informer],
    trust: Trust,
    reported: Reported,
    *,
    clock: Clock,
) -> NodeHub:
    """It tells nodes what the informers say, and keeps what nodes say."""
    told = ("pods", "configmaps", "secrets", "services")
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
        found = {name: NodeState(False) for name in names if not trust.is_shut_out(name)}
        for name in found.keys() & streams.keys():
            stream = streams[name]
            found[name] = NodeState(True, stream.identity.authority, stream.trusts)
        return found

    def former_kubeconfigs() -> Iterator[str]:
        records = known["secrets"].lister.list(NAMESPACE)
        return kubeconfigs.of_others(records, pki.client_ca.signer_id, clock.now())

    return Rotation(pki, nodes, former_kubeconfigs)
