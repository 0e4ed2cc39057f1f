"""The resize subresource: what it changes, and in which words it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.types import Quantity
from common.api.types.core_v1 import Node, Pod, PodStatus
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request import patches
from master.apiserver.request.bodies import Body
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.resize import Resize
from tests.fakes import registry as fakes
from tests.unit.apiserver.registry.test_pipeline_pods import CONTEXT, PODS, create, resource
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

NODES = resource("nodes")
RESIZE = Target(PODS, "n", "a", "resize")
STRATEGIC = "application/strategic-merge-patch+json"
BURSTABLE = {"requests": {"cpu": "100m", "memory": "50Mi"}, "limits": {"memory": "60Mi"}}


def resources(cpu: str, memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}}


def with_resources(*each: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A pod of as many containers."""
    names = [f"c{number}" for number in range(len(each))]
    containers = [
        {"name": name, "image": "nginx", "resources": own, **members}
        for name, own in zip(names, each, strict=True)
    ]
    return pod(containers=containers)


def on_node(own: dict[str, Any]) -> dict[str, Any]:
    """A pod of one container that is bound."""
    made = with_resources(own)
    made["spec"]["nodeName"] = "n1"
    return made


async def patched(pipeline: Pipeline, spec: dict[str, Any], **metadata: Any) -> Pod:
    """The pod after a strategic merge patch of its resize subresource."""
    data = msgspec.json.encode({"metadata": metadata, "spec": spec})
    patcher = patches.read(pipeline.scheme, RESIZE, Patch(data, STRATEGIC))
    handler = Resize(fakes.stored(pipeline))
    return codec.decode(await handler.patch(CONTEXT, RESIZE, patcher), Pod)


def of(name: str, own: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"containers": [{"name": name, "resources": own, **members}]}


async def test_a_resize_changes_resources_and_counts_the_generation(pipeline: Pipeline) -> None:
    await create(pipeline, with_resources(BURSTABLE))
    made = await patched(pipeline, of("c0", {"requests": {"cpu": "200m"}}))
    assert made.spec.containers[0].resources.requests == {"cpu": "200m", "memory": "50Mi"}
    assert made.spec.containers[0].resources.limits == {"memory": "60Mi"}
    assert made.metadata.generation == 2


async def bound(pipeline: Pipeline, **allocatable: str) -> None:
    """A pod on a node that has so much."""
    await create(pipeline, on_node(BURSTABLE))
    node = Node(metadata=ObjectMeta(name="n1"))
    node.status.capacity = {name: Quantity(amount) for name, amount in allocatable.items()}
    await pipeline.create(CONTEXT, Target(NODES, "", "n1"), node)
    await pipeline.cache.wait_for(await pipeline.store.revision(), 5.0)


async def test_more_than_the_node_has_is_refused(pipeline: Pipeline) -> None:
    await bound(pipeline, cpu="1", memory="55Mi")
    await patched(pipeline, of("c0", {"requests": {"cpu": "1"}}))
    for own, lack in (
        ({"cpu": "1001m"}, "cpu, requested: 1001, allocatable: 1000"),
        ({"memory": "56Mi"}, f"memory, requested: {56 << 20}, allocatable: {55 << 20}"),
    ):
        with pytest.raises(errors.StatusError) as caught:
            await patched(pipeline, of("c0", {"requests": own}))
        why = f"node didn't have enough allocatable resources: {lack}"
        assert str(caught.value).endswith(f'pods "a" is forbidden: {why}')
        assert caught.value.code == 403
        assert caught.value.details is not None
        assert caught.value.details["causes"] == [{"reason": "NodeCapacity"}]


async def test_a_pod_of_a_node_that_is_gone_is_not_resized(pipeline: Pipeline) -> None:
    await create(pipeline, on_node(BURSTABLE))
    with pytest.raises(errors.StatusError) as caught:
        await patched(pipeline, of("c0", {"requests": {"cpu": "200m"}}))
    assert 'node "n1" not found' in str(caught.value)


async def test_an_equal_amount_is_no_change(pipeline: Pipeline) -> None:
    before = await create(pipeline, with_resources(resources("1", "1Gi")))
    made = await patched(pipeline, of("c0", resources("1000m", "1024Mi")))
    assert made.metadata.generation == 1
    assert made.metadata.resourceVersion == before.metadata.resourceVersion


async def test_a_limit_that_is_added_makes_a_request(pipeline: Pipeline) -> None:
    await create(pipeline, with_resources(resources("1", "1Gi"), {}))
    made = await patched(pipeline, of("c1", {"limits": {"cpu": "2"}}))
    assert made.spec.containers[1].resources.requests == {"cpu": "2"}


async def test_what_else_is_sent_does_not_count(pipeline: Pipeline) -> None:
    await create(pipeline, with_resources(BURSTABLE))
    handler = Resize(fakes.stored(pipeline))
    wanted = with_resources(
        BURSTABLE | {"requests": {"cpu": "200m", "memory": "50Mi"}}, image="other"
    )
    wanted["metadata"]["labels"] = {"app": "other"}
    wanted["status"] = {"phase": "Failed"}
    body = Body(msgspec.json.encode(wanted | {"apiVersion": "v1", "kind": "Pod"}))
    made = codec.decode(await handler.update(CONTEXT, RESIZE, body), Pod)
    assert made.spec.containers[0].resources.requests["cpu"] == "200m"
    assert made.spec.containers[0].image == "nginx"
    assert made.metadata.labels == {}
    assert made.status.phase == "Pending"
    assert codec.decode(await handler.get(RESIZE), Pod) == made


async def test_a_resize_of_another_state_is_a_conflict(pipeline: Pipeline) -> None:
    await create(pipeline, with_resources(BURSTABLE))
    with pytest.raises(errors.StatusError) as caught:
        await patched(pipeline, of("c0", {"requests": {"cpu": "2"}}), resourceVersion="1")
    assert caught.value.code == 409


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        with_resources(BURSTABLE),
        of("c0", {"limits": {"cpu": "100m", "memory": "50Mi"}}),
        'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
    ),
    (
        with_resources(BURSTABLE),
        of("c0", {"limits": {"memory": None}}),
        "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
    ),
    (
        with_resources(BURSTABLE),
        of("c0", {"requests": {"memory": None}, "limits": None}),
        "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
    ),
    (
        with_resources(BURSTABLE),
        of("c0", {"requests": {"ephemeral-storage": "1Gi"}}),
        "spec: Forbidden: only cpu and memory resources are mutable",
    ),
    (
        with_resources(BURSTABLE),
        of("c0", {}, resizePolicy=[{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]),
        "spec: Forbidden: only cpu and memory resources are mutable",
    ),
    (
        with_resources(BURSTABLE),
        of("more", {"requests": {"cpu": "1"}}, image="nginx"),
        "spec.containers: Forbidden: containers may not be added or removed on resize",
    ),
    (
        with_resources(BURSTABLE),
        of("c0", {"requests": {"memory": "70Mi"}}),
        "spec.containers[0].resources.requests: Invalid value: "
        '"70Mi": must be less than or equal to memory limit of 60Mi',
    ),
]


@pytest.mark.parametrize(("before", "spec", "problem"), BAD)
async def test_what_may_not_change(
    pipeline: Pipeline, before: dict[str, Any], spec: dict[str, Any], problem: str
) -> None:
    await create(pipeline, before)
    with pytest.raises(errors.StatusError) as caught:
        await patched(pipeline, spec)
    assert problem in str(caught.value)
    assert caught.value.code == 422


async def test_pods_with_resources_of_their_own_are_not_resized_yet(pipeline: Pipeline) -> None:
    await create(pipeline, pod(resources=BURSTABLE))
    with pytest.raises(errors.StatusError) as caught:
        await patched(pipeline, {"resources": {"requests": {"cpu": "200m"}}})
    text = "spec.resources: Forbidden: resources of a whole pod cannot be resized yet"
    assert text in str(caught.value)


async def test_containers_stay_in_their_order(pipeline: Pipeline) -> None:
    await create(pipeline, with_resources(BURSTABLE, BURSTABLE))
    wanted = with_resources(BURSTABLE, BURSTABLE)
    wanted["spec"]["containers"].reverse()
    body = Body(msgspec.json.encode(wanted))
    with pytest.raises(errors.StatusError) as caught:
        await Resize(fakes.stored(pipeline)).update(CONTEXT, RESIZE, body)
    text = "containers may not be renamed or reordered on resize"
    assert f"spec.containers[0].name: Forbidden: {text}" in str(caught.value)


async def test_an_init_container_that_would_restart_is_not_resized(pipeline: Pipeline) -> None:
    once = {
        "name": "i",
        "image": "nginx",
        "resources": BURSTABLE,
        "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
    }
    await create(pipeline, pod(initContainers=[once]))
    with pytest.raises(errors.StatusError) as caught:
        own = {"requests": {"memory": "40Mi"}}
        await patched(pipeline, {"initContainers": [{"name": "i", "resources": own}]})
    text = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
    assert f"spec.initContainers[0]: Forbidden: {text}" in str(caught.value)


async def test_a_kubelet_that_tells_no_resources_does_not_resize(pipeline: Pipeline) -> None:
    await create(pipeline, with_resources(BURSTABLE))
    running = {"name": "c0", "state": {"running": {"startedAt": "2030-01-01T00:00:00Z"}}}

    def reported(found: Pod) -> Pod:
        found.status = msgspec.convert(
            {"phase": "Running", "qosClass": "Burstable", "containerStatuses": [running]}, PodStatus
        )
        return found

    await pipeline.update(CONTEXT, Target(PODS, "n", "a", "status"), reported)
    with pytest.raises(errors.StatusError) as caught:
        await patched(pipeline, of("c0", {"requests": {"cpu": "200m"}}))
    text = "spec: Forbidden: Pod running on node without support for resize"
    assert text in str(caught.value)
