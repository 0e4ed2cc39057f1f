"""The network is told whole once, and then by what changes of it: both ends come to the same."""

from __future__ import annotations

import asyncio
import random

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Node, NodeAddress, NodeSpec, NodeStatus
from common.api.types.meta_v1 import ObjectMeta
from common.client.informer import Item, item
from master.nodes.hub import NETWORK_CHANGES_MAX, NodeStream
from node.session.control import changed
from protos import node_v1_pb2
from tests.unit.apiserver.rpc.test_streams import NODE, Setup, setup

__all__ = ["setup"]
found = SCHEME.resource("", "v1", "nodes")
assert found is not None
NODES = found


def node(number: int, address: str) -> Item:
    made = Node(
        metadata=ObjectMeta(name=f"n{number}", resourceVersion="5"),
        spec=NodeSpec(podCIDR=f"10.42.{number}.0/24"),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )
    return item(codec.encode(made))


class Cluster:
    """Nodes that come, go and move, as a hub's informer tells of them."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.nodes: dict[int, Item] = {}

    def put(self, number: int, address: str) -> None:
        new = node(number, address)
        self.setup.hub.node_changed(NODES, self.nodes.get(number), new)
        self.nodes[number] = new

    def remove(self, number: int) -> None:
        if number in self.nodes:
            self.setup.hub.node_changed(NODES, self.nodes.pop(number), None)


class Told:
    """What one node has been told of."""

    def __init__(self, setup: Setup, stream: NodeStream) -> None:
        self._setup, self._stream = setup, stream
        self.network = node_v1_pb2.Network()
        self.messages: list[str] = []

    async def hear(self) -> None:
        await self._setup.service._tell_due(self._stream)
        while not self._stream.outbox.empty():
            message = self._stream.outbox.get_nowait()
            assert message is not None
            self.messages.append(message.WhichOneof("message") or "")
            if message.HasField("network"):
                self.network = message.network
            else:
                self.network = changed(self.network, message.network_change)


async def test_differences_lead_to_the_same_network(setup: Setup) -> None:
    telling = asyncio.create_task(setup.hub.tell_network())
    cluster, choice = Cluster(setup), random.Random(7)
    told = [Told(setup, setup.hub.open("n1", NODE))]
    for round_number in range(60):
        for _ in range(choice.randrange(6)):
            number = choice.randrange(12)
            if choice.random() < 0.3:
                cluster.remove(number)
            else:
                cluster.put(number, f"192.0.2.{choice.randrange(1, 200)}")
        if round_number % 20 == 10:
            stream = NodeStream("late", NODE, 1)
            setup.hub.streams[f"late{round_number}"] = stream
            told.append(Told(setup, stream))
        await setup.clock.advance(choice.choice([0.1, 0.3, 1.0]))
        await choice.choice(told).hear()
    await setup.clock.advance(1.0)
    for one in told:
        await one.hear()
        assert one.network == setup.hub.network()
        assert one.messages.count("network") == 1
    telling.cancel()


async def test_all_that_happens_within_a_moment_is_one_message(setup: Setup) -> None:
    telling = asyncio.create_task(setup.hub.tell_network())
    told = Told(setup, setup.hub.open("n1", NODE))
    await told.hear()
    cluster = Cluster(setup)
    for number in range(100):
        cluster.put(number, "192.0.2.1")
    await setup.clock.advance(1.0)
    await told.hear()
    assert told.messages == ["network", "network_change"]
    assert len(told.network.peers) == 100
    telling.cancel()


async def test_a_stream_that_is_not_read_keeps_no_endless_list(setup: Setup) -> None:
    telling = asyncio.create_task(setup.hub.tell_network())
    stream = setup.hub.open("n1", NODE)
    told = Told(setup, stream)
    await told.hear()
    cluster = Cluster(setup)
    for number in range(NETWORK_CHANGES_MAX + 5):
        cluster.put(1, f"192.0.2.{number + 1}")
        await setup.clock.advance(1.0)
    assert stream.network_changes is None
    await told.hear()
    assert told.network == setup.hub.network()
    telling.cancel()
