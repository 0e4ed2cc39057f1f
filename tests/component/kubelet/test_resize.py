"""Pods that are resized while they run: a whole kubelet on a machine without containers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from common.api import conditions
from common.api.types.core_v1 import Pod, PodStatus, ResourceRequirements
from node.runtime.base import Limits
from tests.fakes.kubelet import FakeNode, end
from tests.fakes.pods import UID, container, pod

MIB = 1 << 20
OTHER = UID[:-1] + "2"
RESTARTS = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FakeNode]:
    """A node of two CPUs and 4 GiB, whose kubelet runs."""
    made = FakeNode(tmp_path)
    await made.start()
    yield made
    await end(made)


def resources(cpu: str, memory: str, *, limit: str = "") -> dict[str, Any]:
    limits = {"cpu": limit or cpu, "memory": memory}
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": limits}


def sized(*each: dict[str, Any], uid: str = UID, **members: Any) -> Pod:
    """A pod of as many containers that run."""
    made = [
        container(f"c{number}", command=["runs"], resources=own, **members)
        for number, own in enumerate(each)
    ]
    metadata = {"uid": uid, "generation": 1}
    return pod(containers=made, metadata=metadata, restartPolicy="OnFailure")


def resized(one: Pod, *each: dict[str, Any]) -> Pod:
    """What the API makes of a pod by a resize."""
    made = deepcopy(one)
    for own, wanted in zip(made.spec.containers, each, strict=True):
        own.resources = ResourceRequirements(**wanted)
    made.metadata.generation += 1
    return made


def condition(status: PodStatus, kind: str) -> tuple[str, str]:
    """(reason, message) of a condition that is there."""
    found = conditions.find(status.conditions, kind)
    assert found is not None, [one.type for one in status.conditions]
    assert found.status == "True"
    return found.reason, found.message


def resize_conditions(status: PodStatus) -> list[str]:
    return [one.type for one in status.conditions if one.type.startswith("PodResize")]


async def limits(node: FakeNode, attempt: int = 0) -> Limits:
    """What the first container of the pod is held to."""
    calls = list(node.runtime.calls)
    [found] = [
        status.limits
        for status in await node.runtime.list_containers()
        if (status.pod_uid, status.name, status.attempt) == (UID, "c0", attempt)
    ]
    node.runtime.calls[:] = calls
    assert found is not None
    return found


SMALL, LARGE = resources("100m", "64Mi"), resources("200m", "128Mi")


async def test_a_container_gets_other_limits_without_a_restart(node: FakeNode) -> None:
    one = sized(SMALL)
    await node.assign(one)
    assert not any(name.startswith("Resize") for name, _ in node.events)
    await node.assign(resized(one, LARGE))
    wanted = Limits(memory_bytes=128 * MIB, cpu_shares=204, cpu_quota_us=20_000)
    assert await limits(node) == wanted
    status = node.master.last(UID)
    assert status.observedGeneration == 2
    assert resize_conditions(status) == []
    [reported] = status.containerStatuses
    assert reported.restartCount == 0
    assert reported.allocatedResources == LARGE["requests"]
    assert reported.resources == ResourceRequirements(**LARGE)
    started, ended = [event for event in node.events if event[0].startswith("Resize")]
    summary = (
        '{"containers":[{"name":"c0","resources":{"limits":{"cpu":"200m","memory":"128Mi"},'
        '"requests":{"cpu":"200m","memory":"128Mi"}}}],"generation":2}'
    )
    assert started == ("ResizeStarted", f"Pod resize started: {summary}")
    assert ended == ("ResizeCompleted", f"Pod resize completed: {summary}")


async def test_no_status_counts_a_resize_as_seen_before_it_is_decided(node: FakeNode) -> None:
    """Who waits for observedGeneration would take the former amounts for the new ones."""
    one = sized(SMALL)
    await node.assign(one)
    before = len(node.master.reports[UID])
    await node.assign(resized(one, LARGE))
    after = node.master.reports[UID][before:]
    assert after
    for status in after:
        [own] = status.containerStatuses
        assert own.allocatedResources == LARGE["requests"]
        done = own.resources == ResourceRequirements(**LARGE)
        assert done == (resize_conditions(status) == [])


async def test_memory_comes_first_and_what_shrinks_before_what_grows(node: FakeNode) -> None:
    one = sized(SMALL, LARGE)
    await node.assign(one)
    await node.assign(resized(one, LARGE, SMALL))
    runtime = node.runtime
    names = [call.split("-")[-2] for call in runtime.calls if call.startswith("set_limits")]
    assert names == ["c1", "c0", "c1", "c0"]


async def test_a_container_restarts_where_its_policy_says_so(node: FakeNode) -> None:
    one = sized(SMALL, resizePolicy=RESTARTS)
    await node.assign(one)
    await node.assign(resized(one, resources("200m", "64Mi")))
    assert (await limits(node)).cpu_shares == 204
    await node.assign(resized(one, LARGE))
    await node.wait(31)
    status = node.master.last(UID)
    assert status.containerStatuses[0].restartCount == 1
    assert resize_conditions(status) == []
    assert await limits(node, 1) == Limits(
        memory_bytes=128 * MIB, cpu_shares=204, cpu_quota_us=20_000
    )
    assert ("Killing", "Container c0 resize requires restart") in node.events
    assert [call.split()[0] for call in node.runtime.changes()].count("set_limits") == 1


async def test_a_container_that_was_resized_is_made_anew_with_what_it_has_now(
    node: FakeNode,
) -> None:
    one = sized(SMALL)
    await node.assign(one)
    await node.assign(resized(one, LARGE))
    [status] = (await node.containers()).values()
    await node.end(status.id, 1)
    await node.wait(1)
    assert (await limits(node, 1)).memory_bytes == 128 * MIB
    assert node.master.last(UID).containerStatuses[0].restartCount == 1


async def test_a_memory_limit_below_usage_is_refused_and_tried_again(node: FakeNode) -> None:
    one = sized(LARGE)
    await node.assign(one)
    [status] = (await node.containers()).values()
    node.runtime.memory_bytes[status.id] = 100 * MIB
    await node.assign(resized(one, SMALL))
    before = await limits(node)
    assert before.memory_bytes == 128 * MIB
    assert before.cpu_shares == 204  # one failure keeps the others back
    reported = node.master.last(UID)
    reason, message = condition(reported, "PodResizeInProgress")
    assert reason == "Error"
    text = f'container "c0" memory limit ({64 * MIB}) below current usage ({100 * MIB})'
    assert message == f"cannot decrease memory limits: attempting to set {text}"
    [own] = reported.containerStatuses
    assert own.allocatedResources == SMALL["requests"]
    assert own.resources is not None
    assert own.resources.limits == LARGE["limits"]
    assert [name for name, _ in node.events].count("ResizeError") == 1
    node.runtime.memory_bytes[status.id] = 10 * MIB
    await node.wait(11)
    assert (await limits(node)).memory_bytes == 64 * MIB
    assert resize_conditions(node.master.last(UID)) == []


async def test_what_does_not_fit_waits_until_others_leave(node: FakeNode) -> None:
    one, other = sized(SMALL), sized(resources("1500m", "1Gi"), uid=OTHER)
    await node.assign(one, other)
    large = resources("1", "128Mi")
    await node.assign(resized(one, large))
    status = node.master.last(UID)
    text = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    assert condition(status, "PodResizePending") == ("Deferred", text)
    assert status.containerStatuses[0].allocatedResources == SMALL["requests"]
    assert (await limits(node)).cpu_shares == 102
    other.metadata.deletionTimestamp = "2030-01-01T00:00:00Z"  # type: ignore[assignment]
    await node.assign(other)
    await node.wait(31)
    await node.remove(OTHER)
    await node.wait(1)
    assert (await limits(node)).cpu_shares == 1024
    assert resize_conditions(node.master.last(UID)) == []


async def test_what_the_machine_will_never_have_is_infeasible(node: FakeNode) -> None:
    one = sized(SMALL)
    await node.assign(one)
    await node.assign(resized(one, resources("100", "64Mi")))
    text = "Node didn't have enough capacity: cpu, requested: 100000, capacity: 2000"
    assert condition(node.master.last(UID), "PodResizePending") == ("Infeasible", text)
    back = resized(one, SMALL)
    back.metadata.generation = 3
    await node.assign(back)
    assert resize_conditions(node.master.last(UID)) == []
    assert not [call for call in node.runtime.calls if call.startswith("set_limits")]


async def test_what_is_set_aside_outlives_the_kubelet(node: FakeNode) -> None:
    one, other = sized(SMALL), sized(resources("1500m", "1Gi"), uid=OTHER)
    await node.assign(one, other)
    await node.stop()
    node.assigned[UID] = resized(one, resources("1", "128Mi"))
    await node.start()
    reason, _ = condition(node.master.last(UID), "PodResizePending")
    assert reason == "Deferred"
    await node.assign(resized(one, LARGE))
    changes = node.runtime.changes()
    await node.restart()
    assert node.runtime.changes() == changes
    assert node.master.last(UID).containerStatuses[0].allocatedResources == LARGE["requests"]
    await node.stop()
    node.assigned[UID] = resized(one, resources("1", "256Mi"))
    await node.start()
    allocated = node.master.last(UID).containerStatuses[0].allocatedResources
    assert allocated == LARGE["requests"]
    assert (await limits(node)).memory_bytes == 128 * MIB


async def test_a_pod_that_is_resized_before_it_runs_begins_with_that(node: FakeNode) -> None:
    node.runtime.images.clear()
    one = sized(SMALL)
    await node.assign(one)
    assert await node.containers() == {}
    await node.assign(resized(one, LARGE))
    node.runtime.add_images(one.spec.containers[0].image)
    await node.wait(400)
    assert (await limits(node)).memory_bytes == 128 * MIB
    assert resize_conditions(node.master.last(UID)) == []
