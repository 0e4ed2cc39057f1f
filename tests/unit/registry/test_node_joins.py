"""Machines that join: what of the Node is theirs to say, and whose addresses their pods have."""

from __future__ import annotations

from typing import Any

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Node, NodeSpec, Taint
from common.api.types.meta_v1 import ObjectMeta
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.request import Context, DeleteOptions
from master.apiserver.rpc.reports import Reports

FOUND = SCHEME.resource("", "v1", "nodes")
assert FOUND is not None
NODES = FOUND


async def join(pipeline: Pipeline, name: str, **spec: Any) -> Node:
    """Register as a kubelet does."""
    identity = Identity(f"system:node:{name}", ("system:nodes",))
    made = Node(metadata=ObjectMeta(name=name), spec=NodeSpec(**spec))
    return await Reports(pipeline).register(identity, name, codec.encode(made))


async def forget(pipeline: Pipeline, name: str) -> None:
    """Delete the object of a node whose machine goes on."""
    context = Context(user=Identity("admin", ("system:masters",)))
    await pipeline.delete(context, NODES, "", name, DeleteOptions())


async def test_a_node_that_was_deleted_has_its_pods_addresses_again(pipeline: Pipeline) -> None:
    block = (await join(pipeline, "n1")).spec.podCIDR
    await forget(pipeline, "n1")
    again = await join(pipeline, "n1", podCIDR=block)
    assert (again.spec.podCIDR, again.spec.podCIDRs) == (block, (block,))


async def test_a_block_that_another_node_has_is_not_given_twice(pipeline: Pipeline) -> None:
    block = (await join(pipeline, "n1")).spec.podCIDR
    other = await join(pipeline, "n2", podCIDR=block)
    assert other.spec.podCIDR not in ("", block)


async def test_a_node_says_nothing_else_of_its_spec(pipeline: Pipeline) -> None:
    """A smaller block within another node's would lead that one's pods' traffic here."""
    await join(pipeline, "n1")
    for number, odd in enumerate(("10.244.1.0/25", "10.244.0.0/24", "192.168.0.0/24", "x")):
        taints = (Taint(key="mine", effect="NoSchedule"),)
        node = await join(pipeline, f"odd{number}", podCIDR=odd, taints=taints, unschedulable=True)
        assert node.spec.podCIDR not in ("", odd)
        assert "mine" not in [taint.key for taint in node.spec.taints]
        assert not node.spec.unschedulable
