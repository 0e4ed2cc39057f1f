"""What a node reports of itself and of its pods: checked like what any client writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types import Quantity
from common.api.types.core_v1 import Node, Pod
from common.security.identity import Identity
from master.apiserver.auth.live import LOOK_SECONDS, LiveCalls
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.apiserver.resources.core.node.noderestriction import own_labels
from master.nodes.reports import Reports
from protos import node_v1_pb2
from tests.fakes.chain import calling, chain, reports
from tests.fakes.clock import FakeClock
from tests.fakes.roles import authorizer
from tests.unit.apiserver.registry.test_pipeline_pods import CONTEXT, PODS
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

NODE = Identity("system:node:n1", ("system:nodes",))
ADMIN = Identity("admin", ("system:masters",))
found = SCHEME.resource("", "v1", "nodes")
assert found is not None
NODES = found


async def bound_pod(pipeline: Pipeline) -> Pod:
    """A pod that is bound to n1."""
    obj, _ = codec.convert_request(pod(nodeName="n1"), Pod)
    data = await pipeline.create(Context(user=ADMIN), Target(PODS, "n"), obj)
    await pipeline.cache.wait_for(await pipeline.store.revision(), 5.0)
    return codec.decode(data, Pod)


async def register(pipeline: Pipeline, **fields: Any) -> Node:
    """As a kubelet does."""
    plain = {"metadata": {"name": "n1"}, **fields}
    node, _ = await reports(pipeline).register(calling(NODE), "n1", codec.encode(plain))
    return node


async def test_a_node_that_registers_is_not_taken_for_one_that_has_lost_its_rights(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate counts from when its Node is there; nobody told the kubelet of the end."""
    clock, create = FakeClock(), pipeline.create
    live = LiveCalls(lambda _: "there is no Node n1", clock)
    looking = asyncio.create_task(live.run())

    async def slowly(*arguments: Any) -> bytes:
        await clock.advance(2 * LOOK_SECONDS)
        return await create(*arguments)

    monkeypatch.setattr(pipeline, "create", slowly)
    made = Reports(chain(authorizer(cache=pipeline.cache), live=live), pipeline)
    data = codec.encode({"metadata": {"name": "n1"}})
    node, _ = await made.register(calling(replace(NODE, serial="1")), "n1", data)
    assert node.metadata.name == "n1"
    looking.cancel()


async def test_a_node_that_is_registered_is_known_to_whoever_asks_whether_it_has_rights(
    pipeline: Pipeline,
) -> None:
    """They look into the watch cache: its stream would end as that of a node without a Node."""
    await register(pipeline)
    assert pipeline.cache.find("nodes", "n1") is not None


async def test_amounts_of_a_node_are_quantities(pipeline: Pipeline) -> None:
    """The scheduler reckons with them: one that is none would stop it."""
    wrong = {"allocatable": {"cpu": "banana"}}
    with pytest.raises(errors.StatusError) as raised:
        await register(pipeline, status=wrong)
    assert raised.value.code == 400
    await register(pipeline)
    with pytest.raises(errors.StatusError) as raised:
        await reports(pipeline).node_status(calling(NODE), "n1", codec.encode(wrong))
    assert raised.value.code == 400
    await reports(pipeline).node_status(calling(NODE), "n1", b'{"allocatable":{"cpu":"1000m"}}')
    stored = codec.decode((await pipeline.read(Target(NODES, "", "n1"))).value, Node)
    assert stored.status.allocatable == {"cpu": "1"}


async def test_a_node_that_reserves_nothing_may_give_all_that_it_has(pipeline: Pipeline) -> None:
    await register(pipeline)
    await reports(pipeline).node_status(calling(NODE), "n1", b'{"capacity":{"pods":"110"}}')
    stored = codec.decode((await pipeline.read(Target(NODES, "", "n1"))).value, Node)
    assert stored.status.allocatable == {"pods": "110"}


async def test_a_device_that_is_written_to_a_node_stays_until_it_is_taken_out(
    pipeline: Pipeline,
) -> None:
    """By a device's own program, or an administrator: the kubelet knows nothing of it."""
    await register(pipeline)
    has = b'{"capacity":{"cpu":"2"},"allocatable":{"cpu":"1"}}'
    await reports(pipeline).node_status(calling(NODE), "n1", has)

    async def written(name: str, amount: str) -> Node:
        def change(node: Node) -> Node:
            node.status.capacity.pop(name, None)
            node.status.capacity |= {name: Quantity(amount)} if amount else {}
            return node

        await pipeline.update(CONTEXT, Target(NODES, "", "n1", "status"), change)
        await reports(pipeline).node_status(calling(NODE), "n1", has)
        return codec.decode((await pipeline.read(Target(NODES, "", "n1"))).value, Node)

    for amount in ("4", "3"):
        made = await written("example.com/gpu", amount)
        assert made.status.capacity == {"cpu": "2", "example.com/gpu": amount}
        assert made.status.allocatable == {"cpu": "1", "example.com/gpu": amount}
    made = await written("example.com/gpu", "")
    assert (made.status.capacity, made.status.allocatable) == ({"cpu": "2"}, {"cpu": "1"})


ENDED = {"name": "web", "lastState": {"terminated": {"exitCode": 1, "finishedAt": "yesterday"}}}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"containerStatuses": [ENDED]}, 400),
        ({"podIP": "garbage"}, 422),
        ({"podIP": "10.0.0.1", "podIPs": [{"ip": "garbage"}]}, 422),
        ({"hostIP": "010.0.0.1"}, 422),
        ({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}, 0),
    ],
    ids=str,
)
async def test_times_and_addresses_of_a_pod_are_some(
    pipeline: Pipeline, status: dict[str, Any], code: int
) -> None:
    """Tables and slices are made of them for everybody."""
    made = await bound_pod(pipeline)
    report = node_v1_pb2.PodReport(
        namespace="n", name="a", uid=made.metadata.uid, status=codec.encode(status)
    )
    try:
        await reports(pipeline).pod_status(calling(NODE), "n1", report)
    except errors.StatusError as error:
        assert error.code == code
    else:
        assert code == 0


async def test_a_condition_of_a_resize_is_there_for_as_long_as_the_kubelet_says_so(
    pipeline: Pipeline,
) -> None:
    made = await bound_pod(pipeline)
    other = {"type": "example.com/gate", "status": "True"}
    resize = {"type": "PodResizeInProgress", "status": "True", "reason": "Error"}
    for reported in ([other, resize], []):
        report = node_v1_pb2.PodReport(
            namespace="n",
            name="a",
            uid=made.metadata.uid,
            status=codec.encode({"conditions": reported}),
        )
        await reports(pipeline).pod_status(calling(NODE), "n1", report)
    stored = codec.decode((await pipeline.read(Target(PODS, "n", "a"))).value, Pod)
    assert "example.com/gate" in {one.type for one in stored.status.conditions}
    assert "PodResizeInProgress" not in {one.type for one in stored.status.conditions}


@pytest.mark.parametrize(
    ("field", "value"),
    [("labels", {"app": "db"}), ("annotations", {"a": "b"}), ("finalizers", ("x.io/y",))],
)
async def test_a_node_changes_nothing_but_the_status_of_its_pods(
    pipeline: Pipeline, field: str, value: Any
) -> None:
    """With a label it would put its pod behind any Service of the namespace."""
    await bound_pod(pipeline)

    def change(current: Pod) -> Pod:
        setattr(current.metadata, field, value)
        return current

    with pytest.raises(errors.StatusError) as raised:
        await set_status(pipeline, NODE, change)
    assert raised.value.code == 403
    assert f'node "n1" cannot update {field} through pod status' in raised.value.message
    changed = await set_status(pipeline, ADMIN, change)
    assert getattr(changed.metadata, field) == value


async def set_status(pipeline: Pipeline, user: Identity, change: Callable[[Pod], Pod]) -> Pod:
    """Update the status of the pod."""
    ctx = Context(user=user)
    data = await pipeline.update(ctx, Target(PODS, "n", "a", "status"), change)
    return codec.decode(data, Pod)


async def test_labels_that_are_none_are_not_stored_by_way_of_the_status(
    pipeline: Pipeline,
) -> None:
    """Each later update of the pod would be refused for them."""
    await bound_pod(pipeline)

    def change(current: Pod) -> Pod:
        current.metadata.labels = {"bad label!": "x"}
        return current

    with pytest.raises(errors.StatusError) as raised:
        await set_status(pipeline, ADMIN, change)
    assert raised.value.code == 422


async def test_a_node_does_not_choose_the_labels_that_choose_its_pods(pipeline: Pipeline) -> None:
    given = {
        "kubernetes.io/hostname": "n1",
        "node-restriction.kubernetes.io/tier": "secret",
        "node-role.kubernetes.io/control-plane": "",
        "topology.kubernetes.io/zone": "a",
        "node.kubernetes.io/size": "big",
        "x.kubelet.kubernetes.io/y": "z",
        "example.com/rack": "7",
        "plain": "p",
    }
    for _ in ("joins", "comes back"):
        made = await register(pipeline, metadata={"name": "n1", "labels": given})
        refused = {"node-restriction.kubernetes.io/tier", "node-role.kubernetes.io/control-plane"}
        assert set(made.metadata.labels) == set(given) - refused
    assert own_labels({"k8s.io/x": "", "y.kubernetes.io/x": "", "kubernetes.io": ""}) == {
        "kubernetes.io": ""
    }


async def test_a_node_says_as_little_of_itself_through_the_api_as_through_its_stream(
    pipeline: Pipeline,
) -> None:
    await register(pipeline)

    def change(count: int) -> Callable[[Node], Node]:
        def changed(node: Node) -> Node:
            node.status.capacity = {f"e.com/r{number}": "1" for number in range(count)}
            return node

        return changed

    ctx = Context(user=NODE)
    await pipeline.update(ctx, Target(NODES, "", "n1", "status"), change(64))
    with pytest.raises(errors.StatusError, match=r"status.capacity: Too many: 65") as raised:
        await pipeline.update(ctx, Target(NODES, "", "n1", "status"), change(65))
    assert raised.value.code == 400
    admin = Context(user=ADMIN)
    await pipeline.update(admin, Target(NODES, "", "n1", "status"), change(65))
    await pipeline.update(ctx, Target(NODES, "", "n1", "status"), change(65))
