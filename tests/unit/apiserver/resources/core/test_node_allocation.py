"""Pod CIDRs: each node has a block of its own, however many join, and found at the first try."""

from __future__ import annotations

import asyncio

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Node
from common.api.types.meta_v1 import ObjectMeta
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions
from master.apiserver.request.target import Target
from master.apiserver.resources.core.node.node import NodeStrategy
from master.storage.keys import allocation_key
from tests.fakes.clock import FakeClock

FOUND = SCHEME.resource("", "v1", "nodes")
assert FOUND is not None
NODES = FOUND
CIDR = "10.244.0.0/22"


def context() -> Context:
    return Context(user=Identity("admin", ("system:masters",)))


async def join(pipeline: Pipeline, name: str) -> str:
    """Create a node; answers its block."""
    made = Node(metadata=ObjectMeta(name=name))
    return codec.decode(await pipeline.create(context(), Target(NODES), made), Node).spec.podCIDR


async def test_nodes_that_join_at_once_have_different_blocks(pipeline: Pipeline) -> None:
    found = await asyncio.gather(*[join(pipeline, f"n{number}") for number in range(100)])
    assert set(found) == {f"10.244.{number}.0/24" for number in range(1, 101)}


async def test_every_block_is_given_before_one_is_given_again(pipeline: Pipeline) -> None:
    for number in range(255):
        await join(pipeline, f"n{number}")
    await pipeline.delete(context(), Target(NODES, "", "n6"), DeleteOptions())
    assert await join(pipeline, "late") == "10.244.7.0/24"


def test_a_proposal_goes_on_behind_the_last_one_and_passes_over_what_is_taken() -> None:
    made = NodeStrategy(NODES, cluster_cidr=CIDR, service_cidr="10.96.0.0/16", clock=FakeClock())
    given = []
    for taken in (set(), {"10.244.2.0-24"}, set()):
        node = Node(metadata=ObjectMeta(name="n"))
        made.propose(node, {allocation_key("podcidrs", slug) for slug in taken})
        given.append(node.spec.podCIDR)
    assert given == ["10.244.1.0/24", "10.244.3.0/24", "10.244.1.0/24"]
