"""What a resized pod needs next, and what is said of it: decided without a kubelet."""

from typing import Any

import pytest

from common.api.types.core_v1 import Pod, ResourceRequirements
from node.kubelet.pod import outcomes, planner
from node.kubelet.pod.fold import fold
from node.kubelet.pod.memory import Moment, Observed, PendingResize, PodMemory
from node.kubelet.pod.resources import resizing
from node.kubelet.pod.steps import AllocateResources, SetLimits, SignalContainer, Wait
from node.kubelet.spec.limits import limits_of, parsed, resource_text
from node.runtime.base import ContainerStatus, Limits
from tests.fakes.clock import FakeClock
from tests.fakes.pods import container, observed, pod, ran

CLOCK = FakeClock()
MIB = 1 << 20
SMALL = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
LARGE = {"requests": {"cpu": "200m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}}
CPU_RESTARTS = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]


def of(plain: dict[str, Any]) -> ResourceRequirements:
    return ResourceRequirements(**plain)


def sized(plain: dict[str, Any], **members: Any) -> Pod:
    return pod(containers=[container(resources=plain, **members)], metadata={"generation": 2})


def runs(plain: dict[str, Any], **members: Any) -> ContainerStatus:
    """A container that runs with what it was made with."""
    own = of(plain)
    return ran(resources=resource_text(own), limits=limits_of(own), **members)


def remembered(plain: dict[str, Any], *, begun: bool = True) -> PodMemory:
    """What a kubelet knows that has set this aside."""
    memory = PodMemory(Moment(CLOCK.now(), CLOCK.monotonic()), volumes_version="v")
    memory.volumes_made = True
    memory.allocated = {"app": of(plain)}
    memory.resize.recalled, memory.resize.begun = True, begun
    memory.address = "10.42.1.2"
    return memory


def plan(one: Pod, found: Observed, memory: PodMemory) -> list[Any]:
    return list(planner.plan(one, found, memory, CLOCK.monotonic(), volumes_version="v"))


def told(outcome: outcomes.Outcome, one: Pod, found: Observed, memory: PodMemory) -> list[str]:
    """The reasons of the Events of an outcome."""
    now = Moment(CLOCK.now(), CLOCK.monotonic())
    return [event.reason for event in fold(outcome, one, found, memory, now)]


def test_what_is_wanted_is_set_aside_first() -> None:
    steps = plan(sized(LARGE), observed(runs(SMALL)), remembered(SMALL, begun=False))
    [step] = steps
    assert isinstance(step, AllocateResources)
    assert step.resources == {"app": of(LARGE)}


def test_a_refused_resize_waits_and_another_one_is_asked_for() -> None:
    memory = remembered(SMALL)
    found = observed(runs(SMALL))
    pending = PendingResize("Deferred", "no room", {"app": of(LARGE)})
    assert told(outcomes.ResizeRefused(pending), sized(LARGE), found, memory) == ["ResizeDeferred"]
    assert plan(sized(LARGE), found, memory) == []
    [reported] = resizing.resize_conditions(sized(LARGE), found, memory)
    assert (reported.type, reported.reason, reported.message) == (
        "PodResizePending",
        "Deferred",
        "no room",
    )
    assert resizing.resize_conditions(sized(SMALL), found, memory) == []
    [step] = plan(sized(SMALL), found, memory)
    assert isinstance(step, AllocateResources)
    told(outcomes.RoomMade(), sized(LARGE), found, memory)
    [step] = plan(sized(LARGE), found, memory)
    assert isinstance(step, AllocateResources)


def test_limits_are_set_memory_first() -> None:
    steps = plan(sized(LARGE), observed(runs(SMALL)), remembered(LARGE))
    assert [step.limits for step in steps if isinstance(step, SetLimits)] == [
        Limits(memory_bytes=128 * MIB),
        Limits(cpu_shares=204),
    ]


def test_what_shrinks_comes_before_what_grows() -> None:
    one = pod(containers=[container("a", resources=LARGE), container("b", resources=SMALL)])
    memory = remembered(SMALL)
    memory.allocated = {"a": of(LARGE), "b": of(SMALL)}
    found = observed(
        ran("a", resources=resource_text(of(SMALL)), limits=limits_of(of(SMALL))),
        ran("b", resources=resource_text(of(LARGE)), limits=limits_of(of(LARGE))),
    )
    steps = resizing.plan_limits(one, found, memory, CLOCK.monotonic())
    assert [(s.status.name, bool(s.limits.memory_bytes)) for s in steps] == [  # type: ignore[attr-defined]
        ("b", True),
        ("a", True),
        ("b", False),
        ("a", False),
    ]


def test_a_container_that_stops_is_left_alone() -> None:
    memory, found = remembered(LARGE), observed(runs(SMALL))
    step = SignalContainer(reason="r", status=found.all()[0], signal="TERM")
    told(outcomes.Begun(step), sized(LARGE), found, memory)
    assert resizing.plan_limits(sized(LARGE), found, memory, CLOCK.monotonic()) == []


def test_limits_of_a_pod_that_was_never_resized_are_not_looked_at() -> None:
    other = ran(limits=Limits(memory_bytes=1 * MIB, cpu_shares=7))
    memory = remembered(LARGE, begun=False)
    assert plan(sized(LARGE), observed(other), memory) == []
    assert resizing.resize_conditions(sized(LARGE), observed(other), memory) == []
    assert resizing.reported(sized(LARGE).spec.containers[0], other, memory) == of(LARGE)


def test_what_the_kernel_makes_of_limits_is_not_set_again() -> None:
    memory, found = remembered(LARGE), observed(runs(SMALL))
    status = found.all()[0]
    for limits in (Limits(memory_bytes=128 * MIB), Limits(cpu_shares=204)):
        told(outcomes.LimitsSet(status.id, limits), sized(LARGE), found, memory)
    assert status.limits == Limits(memory_bytes=64 * MIB, cpu_shares=102)
    assert plan(sized(LARGE), found, memory) == []
    told(outcomes.ContainerRemoved(status.id), sized(LARGE), found, memory)
    assert memory.resize.limits == {}
    memory.check_invariants(found)


def test_one_failure_keeps_the_others_back_for_a_while() -> None:
    memory, found = remembered(SMALL), observed(runs(LARGE))
    failed = outcomes.LimitsNotSet(found.all()[0].id, "below usage")
    assert told(failed, sized(SMALL), found, memory) == ["ResizeError"]
    assert told(failed, sized(SMALL), found, memory) == []
    [wait] = plan(sized(SMALL), found, memory)
    assert isinstance(wait, Wait)
    assert (wait.reason, wait.seconds) == ("below usage", 20)
    [reported] = resizing.resize_conditions(sized(SMALL), found, memory)
    assert (reported.reason, reported.message) == ("Error", "below usage")
    allocated = outcomes.ResourcesAllocated({"app": of(LARGE)})
    assert told(allocated, sized(LARGE), found, memory) == ["ResizeStarted"]
    assert resizing.resize_conditions(sized(LARGE), found, memory) == []


def test_a_container_restarts_where_its_policy_says_so_whatever_the_pods() -> None:
    one = sized(LARGE, resizePolicy=CPU_RESTARTS)
    one.spec.restartPolicy = "OnFailure"
    memory, found = remembered(LARGE), observed(runs(SMALL))
    [step] = plan(one, found, memory)
    assert isinstance(step, SignalContainer)
    assert step.message == "Container app resize requires restart"
    told(outcomes.Begun(step), one, found, memory)
    ended = runs(SMALL, state="exited", finished_at="2030-01-01T00:01:00Z")
    told(outcomes.ContainerSeen(ended.id, ended), one, found, memory)
    assert planner.restarts(one, one.spec.containers[0], ended, memory)
    [reported] = resizing.resize_conditions(one, found, memory)
    assert reported.type == "PodResizeInProgress"


def test_a_policy_is_for_its_resource_alone() -> None:
    more_memory = {**SMALL, "limits": {"memory": "128Mi"}}
    one = sized(more_memory, resizePolicy=CPU_RESTARTS)
    assert not resizing.needs_restart(one.spec.containers[0], runs(SMALL))
    assert not resizing.needs_restart(one.spec.containers[0], ran())


@pytest.mark.parametrize(
    ("stored", "found", "held"),
    [
        (None, observed(), LARGE),
        (None, observed(runs(SMALL)), SMALL),
        (None, observed(ran()), LARGE),
        ({"app": of(SMALL)}, observed(runs(LARGE)), SMALL),
        ({"other": of(SMALL)}, observed(), LARGE),
    ],
)
def test_what_a_kubelet_begins_with(stored: Any, found: Observed, held: dict[str, Any]) -> None:
    assert resizing.recalled(sized(LARGE), stored, found) == {"app": of(held)}


def test_other_resources_stay_as_they_are() -> None:
    disk = {"ephemeral-storage": "1Gi"}
    wanted = {"requests": {"cpu": "1"} | disk, "limits": {"example.com/a": "1"}}
    held = resizing.allocated(sized(wanted), remembered(SMALL)).spec.containers[0].resources
    assert held.requests == disk | SMALL["requests"]
    assert held.limits == {"example.com/a": "1"} | SMALL["limits"]
    assert parsed(resource_text(of(wanted))) == of({"requests": {"cpu": "1"}})


def test_what_a_container_has_is_told_until_it_has_what_it_is_to_have() -> None:
    memory = remembered(LARGE)
    own = sized(LARGE).spec.containers[0]
    assert resizing.reported(own, runs(SMALL), memory) == of(
        {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "64Mi"}}
    )
    assert resizing.reported(own, runs(LARGE), memory) == of(LARGE)
    ended = runs(SMALL, state="exited")
    assert resizing.reported(own, ended, memory) == of(LARGE)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"limits": 1}'])
def test_what_cannot_be_read_of_a_container_says_nothing(text: str) -> None:
    assert parsed(text) is None


def test_amounts_below_the_least_that_the_kernel_takes() -> None:
    own = of({"requests": {"cpu": "1m"}, "limits": {"cpu": "5m"}})
    assert limits_of(own) == Limits(cpu_shares=2, cpu_quota_us=1000)
    assert limits_of(of({})) == Limits(cpu_shares=2)
    assert limits_of(of({"limits": {"cpu": "500m"}})).cpu_shares == 512
