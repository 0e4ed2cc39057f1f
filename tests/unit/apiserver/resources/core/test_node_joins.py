"""Machines that join: what of the Node is theirs to say, and whose addresses their pods have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.api.types.certificates_v1 import CertificateSigningRequest
from common.api.types.core_v1 import Node, NodeSpec, Taint
from common.api.types.meta_v1 import ObjectMeta
from common.runtime.clock import SystemClock
from common.security.csr import NEXT_CERTIFICATE, NODE_CERTIFICATE, REVOKED
from common.security.identity import Identity
from master.apiserver.auth.trust import Trust
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions
from master.apiserver.request.target import Target
from tests.fakes.chain import calling, reports
from tests.fakes.clock import FakeClock

FOUND = SCHEME.resource("", "v1", "nodes")
assert FOUND is not None
NODES = FOUND


async def join(pipeline: Pipeline, name: str, **spec: Any) -> Node:
    """Register as a kubelet does."""
    identity = Identity(f"system:node:{name}", ("system:nodes",))
    made = Node(metadata=ObjectMeta(name=name), spec=NodeSpec(**spec))
    node, _ = await reports(pipeline).register(calling(identity), name, codec.encode(made))
    return node


async def forget(pipeline: Pipeline, name: str) -> None:
    """Delete the object of a node whose machine goes on."""
    context = Context(user=Identity("admin", ("system:masters",)))
    await pipeline.delete(context, Target(NODES, "", name), DeleteOptions())


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


async def register(pipeline: Pipeline, serial: str) -> Node:
    """Register n1 with the certificate of that number."""
    identity = Identity("system:node:n1", ("system:nodes",), serial)
    node, _ = await reports(pipeline).register(
        calling(identity), "n1", b'{"metadata":{"name":"n1"}}'
    )
    return node


async def trusted(pipeline: Pipeline, serial: str) -> bool:
    await pipeline.cache.wait_for(await pipeline.store.revision(), 5.0)
    identity = Identity("system:node:n1", ("system:nodes",), serial, authority="ca")
    return Trust(pipeline.cache, SystemClock(), bool).problem(identity) == ""


async def test_a_node_belongs_to_the_certificate_that_it_was_registered_with(
    pipeline: Pipeline,
) -> None:
    await register(pipeline, "a1")
    await register(pipeline, "a1")
    with pytest.raises(StatusError, match="belongs to another certificate") as raised:
        await register(pipeline, "b2")
    assert raised.value.code == 403
    assert await trusted(pipeline, "a1")
    assert not await trusted(pipeline, "b2")
    assert not await trusted(pipeline, "")


async def test_the_certificate_of_a_deleted_node_registers_no_other(pipeline: Pipeline) -> None:
    """Also not after the machine has come back with a new one."""
    await register(pipeline, "a1")
    await forget(pipeline, "n1")
    assert not await trusted(pipeline, "a1")
    with pytest.raises(StatusError, match="a Node that was deleted"):
        await register(pipeline, "a1")
    await register(pipeline, "b2")
    assert await trusted(pipeline, "b2")
    assert not await trusted(pipeline, "a1")
    await forget(pipeline, "n1")
    for serial in ("a1", "b2"):
        with pytest.raises(StatusError, match="a Node that was deleted"):
            await register(pipeline, serial)


async def test_a_certificate_that_was_replaced_does_not_come_back(pipeline: Pipeline) -> None:
    await register(pipeline, "a1")
    context = Context(
        user=Identity(
            "system:serviceaccount:kube-system:certificate-controller", ("system:masters",)
        )
    )

    def give(node: Node) -> Node:
        node.metadata.annotations[NODE_CERTIFICATE] = "b2"
        return node

    await pipeline.update(context, Target(NODES, "", "n1"), give)
    assert await trusted(pipeline, "b2")
    assert not await trusted(pipeline, "a1")
    await forget(pipeline, "n1")
    with pytest.raises(StatusError, match="a Node that was deleted"):
        await register(pipeline, "a1")


async def give_next(pipeline: Pipeline, serial: str) -> None:
    """As the signing controller does when a node renews its certificate."""
    context = Context(
        user=Identity(
            "system:serviceaccount:kube-system:certificate-controller", ("system:masters",)
        )
    )

    def give(node: Node) -> Node:
        node.metadata.annotations[NEXT_CERTIFICATE] = serial
        return node

    await pipeline.update(context, Target(NODES, "", "n1"), give)


async def test_both_certificates_count_until_the_new_one_is_used(pipeline: Pipeline) -> None:
    await register(pipeline, "a1")
    await give_next(pipeline, "b2")
    for serial in ("a1", "b2"):
        assert await trusted(pipeline, serial)
    assert not await trusted(pipeline, "")
    node = await register(pipeline, "a1")
    assert node.metadata.annotations[NEXT_CERTIFICATE] == "b2", "it may not have it yet"
    await register(pipeline, "b2")
    assert await trusted(pipeline, "a1"), "its stream is there until the new one is"
    identity = Identity("system:node:n1", ("system:nodes",), "b2")
    await reports(pipeline).take_over(calling(identity), "n1")
    node = await register(pipeline, "b2")
    assert node.metadata.annotations[NODE_CERTIFICATE] == "b2"
    assert NEXT_CERTIFICATE not in node.metadata.annotations
    assert await trusted(pipeline, "b2")
    assert not await trusted(pipeline, "a1")


async def test_a_new_certificate_that_was_not_used_ends_with_its_node(pipeline: Pipeline) -> None:
    await register(pipeline, "a1")
    await give_next(pipeline, "b2")
    await forget(pipeline, "n1")
    for serial in ("a1", "b2"):
        with pytest.raises(StatusError, match="a Node that was deleted"):
            await register(pipeline, serial)


async def test_of_a_revoked_node_no_certificate_counts(pipeline: Pipeline) -> None:
    await register(pipeline, "a1")
    await give_next(pipeline, "b2")
    context = Context(user=Identity("admin", ("system:masters",)))

    def revoke(node: Node) -> Node:
        node.metadata.annotations[NODE_CERTIFICATE] = REVOKED
        return node

    await pipeline.update(context, Target(NODES, "", "n1"), revoke)
    for serial in ("a1", "b2", REVOKED, ""):
        assert not await trusted(pipeline, serial)


async def test_a_certificate_that_has_expired_does_not_count(pipeline: Pipeline) -> None:
    await register(pipeline, "a1")
    await pipeline.cache.wait_for(await pipeline.store.revision(), 5.0)
    clock = FakeClock()
    at = clock.now().timestamp()
    identity = Identity("system:node:n1", ("system:nodes",), "a1", at + 60, "ca")
    trust = Trust(pipeline.cache, clock, lambda authority: authority == "ca")
    assert trust.problem(identity) == ""
    assert "authority" in trust.problem(replace(identity, authority="former"))
    assert trust.problem(replace(identity, authority="")) == "", "it does not say"
    await clock.advance(60)
    assert "expired" in trust.problem(identity)
    assert "expired" in trust.problem(Identity("admin", ("system:masters",), "c3", at + 60))


async def test_a_node_of_before_takes_the_first_certificate_that_comes(pipeline: Pipeline) -> None:
    context = Context(user=Identity("admin", ("system:masters",)))
    await pipeline.create(context, Target(NODES), Node(metadata=ObjectMeta(name="n1")))
    assert await trusted(pipeline, "a1")
    await register(pipeline, "a1")
    with pytest.raises(StatusError, match="belongs to another certificate"):
        await register(pipeline, "b2")


async def test_a_join_token_makes_so_many_requests(pipeline: Pipeline) -> None:
    requests = SCHEME.resource("certificates.k8s.io", "v1", "certificatesigningrequests")
    assert requests is not None
    context = Context(user=Identity("system:bootstrap:abcdef", ("system:bootstrappers",)))
    with pytest.raises(StatusError) as raised:
        for number in range(60):
            body = CertificateSigningRequest(metadata=ObjectMeta(name=f"r{number}"))
            body.spec.request, body.spec.usages = b"x", ("client auth",)
            body.spec.signerName = "kubernetes.io/kube-apiserver-client-kubelet"
            with suppress_invalid():
                await pipeline.create(context, Target(requests), body)
    assert raised.value.code == 429


@contextmanager
def suppress_invalid() -> Iterator[None]:
    """It is the number of requests that counts, not what is in them."""
    try:
        yield
    except StatusError as error:
        if error.code != 422:
            raise
