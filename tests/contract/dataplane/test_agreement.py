"""Each client's connections go where `model.route` says, on a machine with pods in namespaces."""

from __future__ import annotations

from collections import Counter

import pytest

from common.runtime.offload import Offload
from node.kubeproxy.dataplane.nftables import NftablesDataplane
from node.kubeproxy.model import route
from tests.contract.dataplane.machine import (
    ALL,
    FACTS,
    NODE_IP,
    NODE_PORT,
    OUTSIDE,
    POD,
    a_table,
    calls,
    changes,
    shell,
)
from tests.unit.kubeproxy.objects import VIP

pytestmark = pytest.mark.netns
LOCAL = {"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"}


@pytest.mark.parametrize(
    ("backends", "protocol", "spec"),
    [
        (ALL, "TCP", {}),
        (ALL, "UDP", {}),
        (ALL, "TCP", LOCAL),
        (("10.42.1.3",), "TCP", LOCAL),
        ((), "TCP", {}),
        ((), "UDP", {}),
        (("10.42.1.2",), "TCP", {}),
    ],
)
async def test_packets_go_where_the_model_says(
    machine: Offload, backends: tuple[str, ...], protocol: str, spec: dict[str, str]
) -> None:
    table = a_table(backends, protocol, **spec)
    dataplane = NftablesDataplane(FACTS, machine)
    await dataplane.reload(changes(table))
    kind = protocol.lower()
    for client in (POD, OUTSIDE, NODE_IP, "10.42.1.2"):
        for address, port in ((VIP, 80), (NODE_IP, NODE_PORT)):
            wanted = route(table, client, address, port, kind)
            served = wanted.fate == "endpoints"
            count = 3 * len(wanted.endpoints) if served else 1
            wait = 1.0 if wanted.fate == "dropped" else 20.0
            found = await machine(calls, client, kind, address, port, count, wait)
            where = Counter(line.split()[0] for line in found)
            if not served:
                assert where == {wanted.fate: 1}, wanted
                continue
            assert where == {one.address: 3 for one in wanted.endpoints}, wanted
            if wanted.masqueraded and client not in (NODE_IP, "10.42.1.2"):
                assert {line.split()[1] for line in found}.isdisjoint({client}), wanted
            if not wanted.masqueraded and client != "10.42.1.2":
                assert {line.split()[1] for line in found} == {client}, wanted


async def test_a_client_stays_with_its_endpoint_when_others_come(machine: Offload) -> None:
    dataplane = NftablesDataplane(FACTS, machine)
    seen = set()
    for backends in (ALL[:2], ALL):
        table = a_table(backends, "TCP", sessionAffinity="ClientIP")
        load = dataplane.apply if seen else dataplane.reload
        await load(changes(table))
        seen |= set(await machine(calls, POD, "tcp", VIP, 80, 20, 20.0))
    assert len(seen) == 1


async def test_a_flush_is_noticed_and_loading_repairs_it(machine: Offload) -> None:
    dataplane = NftablesDataplane(FACTS, machine)
    await dataplane.reload(changes(a_table(ALL, "TCP")))
    assert await dataplane.is_intact()
    await machine(shell, "nft flush table ip wherry-proxy")
    assert not await dataplane.is_intact()
    await dataplane.reload({})
    found = await machine(calls, POD, "tcp", VIP, 80, 6, 20.0)
    assert Counter(line.split()[0] for line in found) == dict.fromkeys(ALL, 2)
