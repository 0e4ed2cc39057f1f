"""The planner, one situation a test: what it does next, and why it waits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from common.api.types.core_v1 import Pod
from node.kubelet.pod import planner, steps
from node.kubelet.pod.fold import fold
from node.kubelet.pod.memory import (
    CheckedImage,
    Failure,
    Moment,
    Observed,
    PodMemory,
    ProbeKey,
    ProbeState,
    Pull,
    StartFailure,
    Stop,
    restart_delay_seconds,
)
from node.kubelet.pod.outcomes import ContainerSeen
from tests.fakes.pods import IMAGE, container, observed, pod, ran

NOW = datetime(2030, 1, 1, 0, 1, tzinfo=UTC)
SECONDS = 1000.0
"""The monotonic clock at that moment."""
MADE = "1"


def memory(**fields: Any) -> PodMemory:
    """A pod whose volumes are made."""
    began = Moment(NOW, SECONDS)
    return PodMemory(started_at=began, volumes_version=MADE, address="10.42.1.2", **fields)


def plan(
    one: Pod, found: Observed, known: PodMemory | None = None, *, later: float = 0
) -> list[steps.Step]:
    """The steps for a pod whose volumes are up to date, so many seconds later."""
    now, known = Moment(NOW + timedelta(seconds=later), SECONDS + later), known or memory()
    for status in found.all():
        fold(ContainerSeen(status.id, status), one, found, known, now)
    return list(planner.plan(one, found, known, now.monotonic, volumes_version=MADE))


def kinds(planned: list[steps.Step]) -> list[str]:
    """The names of the steps."""
    return [type(step).__name__ for step in planned]


def ended(attempt: int = 0, *, code: int = 1, seconds_ago: int = 0) -> Any:
    """An attempt that ran one second and ended."""
    end = NOW - timedelta(seconds=seconds_ago)
    return ran(
        attempt=attempt,
        state="exited",
        started_at=f"{end - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}",
        finished_at=f"{end:%Y-%m-%dT%H:%M:%SZ}",
        exit_code=code,
    )


def test_address_volumes_image_beside_sandbox_then_container_then_start() -> None:
    one, known = pod(), PodMemory(started_at=Moment(NOW, SECONDS))
    nothing = observed(with_sandbox=False)
    assert kinds(plan(one, nothing, known)) == ["TakeAddress"]
    assert kinds(plan(pod(hostNetwork=True), nothing, known)) == ["MakeVolumes"]
    known.address = "10.42.1.2"
    assert kinds(plan(one, nothing, known)) == ["MakeVolumes"]
    known.volumes_version = MADE
    assert kinds(plan(one, nothing, known)) == ["InspectImage", "MakeSandbox"]
    assert kinds(plan(one, observed(), known)) == ["InspectImage"]
    known.pulls["app"] = Pull(IMAGE)
    assert kinds(plan(one, nothing, known)) == ["MakeSandbox"]
    assert plan(one, observed(), known) == []
    known.images["app"] = CheckedImage(0, IMAGE, ready=True)
    assert kinds(plan(one, observed(), known)) == ["CreateContainer"]
    created = ran(state="created", started_at="")
    assert kinds(plan(one, observed(created), known)) == ["StartContainer"]
    assert plan(one, observed(ran()), known) == []


def test_init_containers_run_one_after_the_other_and_before_the_others() -> None:
    one = pod(initContainers=[container("first"), container("second")])
    [step] = plan(one, observed())
    assert isinstance(step, steps.InspectImage)
    assert step.container.name == "first"
    assert plan(one, observed(ran("first"))) == []
    first = ran("first", state="exited", finished_at="2030-01-01T00:00:30Z")
    [step] = plan(one, observed(first))
    assert isinstance(step, steps.InspectImage)
    assert step.container.name == "second"
    second = ran("second", state="exited", finished_at="2030-01-01T00:00:40Z")
    [step] = plan(one, observed(first, second))
    assert isinstance(step, steps.InspectImage)
    assert step.container.name == "app"


def test_an_init_container_that_is_gone_does_not_run_again_beside_the_others() -> None:
    one = pod(initContainers=[container("first")])
    assert plan(one, observed(ran())) == []


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_an_init_container_of_a_former_sandbox_runs_again(policy: str) -> None:
    one = pod(initContainers=[container("first")], restartPolicy=policy)
    first = ran("first", state="exited", finished_at="2030-01-01T00:00:30Z")
    [step] = plan(one, observed(first), memory(of_former_sandbox={first.id}))
    assert isinstance(step, steps.InspectImage)
    assert (step.container.name, step.attempt) == ("first", 1)


def test_app_containers_are_planned_side_by_side() -> None:
    one = pod(containers=[container("a"), container("b")])
    assert kinds(plan(one, observed())) == ["InspectImage", "InspectImage"]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_the_restart_policy_decides_over_a_new_attempt(policy: str, code: int, again: bool) -> None:
    planned = plan(pod(restartPolicy=policy), observed(ended(code=code)))
    assert kinds(planned) == (["InspectImage"] if again else [])
    if again:
        [step] = planned
        assert isinstance(step, steps.InspectImage)
        assert step.attempt == 1


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(0, 0), (1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (60, 300)]
)
def test_a_crash_loop_waits_longer_each_time(attempt: int, seconds: int) -> None:
    assert restart_delay_seconds(attempt, 0) == seconds
    planned = plan(pod(), observed(ended(attempt)))
    if seconds == 0:
        assert kinds(planned) == ["InspectImage"]
        return
    [step] = planned
    assert isinstance(step, steps.Wait)
    assert step.seconds == seconds
    assert kinds(plan(pod(), observed(ended(attempt)), later=seconds)) == ["InspectImage"]


def test_a_clock_that_was_set_back_makes_no_container_wait_for_hours() -> None:
    assert kinds(plan(pod(), observed(ended(5)), later=-3600)) == ["InspectImage"]


def test_a_run_of_ten_minutes_ends_the_back_off() -> None:
    long_run = ran(
        attempt=7,
        state="exited",
        started_at="2029-12-31T23:50:00Z",
        finished_at="2030-01-01T00:01:00Z",
        exit_code=1,
    )
    assert kinds(plan(pod(), observed(long_run))) == ["InspectImage"]


def test_one_former_attempt_is_kept_and_older_ones_are_removed_before_the_next() -> None:
    found = observed(ended(0, seconds_ago=60), ended(1, seconds_ago=30))
    [step] = plan(pod(), found)
    assert isinstance(step, steps.RemoveContainer)
    assert step.status.attempt == 0
    found.drop("app-0")
    assert kinds(plan(pod(), found)) == ["InspectImage"]


def test_a_failure_is_waited_for_and_then_tried_again() -> None:
    known = memory()
    known.fail("app", "ErrImagePull", "no such image", SECONDS, image=IMAGE)
    [step] = plan(pod(), observed(), known)
    assert isinstance(step, steps.Wait)
    assert (step.seconds, step.reason) == (10, "no such image")
    assert kinds(plan(pod(), observed(), known, later=10)) == ["InspectImage"]


def test_what_is_known_of_an_image_says_nothing_of_another() -> None:
    one = pod(containers=[container(image="localhost/other:1")])
    known = memory(images={"app": CheckedImage(0, IMAGE, ready=True)}, pulls={"app": Pull(IMAGE)})
    known.fail("app", "ErrImagePull", "no such image", SECONDS, image=IMAGE)
    assert kinds(plan(one, observed(), known)) == ["InspectImage"]
    again = known.fail("app", "ErrImagePull", "no such image", SECONDS, image="localhost/other:1")
    assert again.count == 1
    assert wait_of(plan(one, observed(), known)) == 10


def test_an_image_that_is_not_ready_is_pulled_and_asked_for_again_after_silence() -> None:
    known = memory(images={"app": CheckedImage(0, IMAGE, ready=False)})
    assert kinds(plan(pod(), observed(), known)) == ["PullImage"]
    assert kinds(plan(pod(), observed(with_sandbox=False), known)) == ["PullImage", "MakeSandbox"]
    known = memory(pulls={"app": Pull(IMAGE, retry_at=SECONDS + 2)})
    assert wait_of(plan(pod(), observed(), known)) == 2
    assert kinds(plan(pod(), observed(), known, later=2)) == ["InspectImage"]


def test_a_removal_that_the_machine_refuses_is_tried_again_after_a_wait() -> None:
    one = pod(metadata={"deletionTimestamp": "2030-01-01T00:00:30Z"})
    known = memory(removal_failure=Failure("FailedKillPod", "no", 1, SECONDS + 2))
    assert wait_of(plan(one, observed(), known)) == 2
    assert kinds(plan(one, observed(), known, later=2)) == ["RemoveSandbox"]
    known.volumes_version = ""
    assert wait_of(plan(one, observed(with_sandbox=False), known)) == 2


def test_a_hook_that_the_runtime_did_not_answer_for_is_called_again_after_a_wait() -> None:
    known = memory(hook_retries={("app-0", "postStart"): SECONDS + 2})
    assert wait_of(plan(hooked(), observed(ran()), known)) == 2
    assert kinds(plan(hooked(), observed(ran()), known, later=2)) == ["RunHook"]
    one = deleted(hooked(), 5)
    known = memory(kill_at=SECONDS + 5, hook_retries={("app-0", "preStop"): SECONDS + 2})
    assert wait_of(plan(one, observed(ran()), known)) == 2
    assert kinds(plan(one, observed(ran()), known, later=2)) == ["RunHook"]
    assert signal_of(plan(one, observed(ran()), known, later=5)) == "TERM"


def test_failures_wait_from_ten_seconds_to_five_minutes() -> None:
    known = memory()
    waits = [known.fail("app", "ErrImagePull", "", SECONDS).retry_at - SECONDS for _ in range(8)]
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def deleted(one: Pod, grace_seconds: int, stamp: str = "2030-01-01T00:01:00Z") -> Pod:
    """The pod, deleted with a grace period that another machine's clock stamps."""
    one.metadata.deletionTimestamp = stamp  # type: ignore[assignment]
    one.metadata.deletionGracePeriodSeconds = grace_seconds
    return one


def signal_of(planned: list[steps.Step]) -> str:
    """The signal that the one step sends."""
    [step] = planned
    assert isinstance(step, steps.SignalContainer)
    return step.signal


def wait_of(planned: list[steps.Step]) -> float:
    """How long the one step waits."""
    [step] = planned
    assert isinstance(step, steps.Wait)
    return step.seconds


@pytest.mark.parametrize(
    "stamp", ["2029-12-31T00:00:00Z", "2030-01-01T00:01:30Z", "2030-01-02T00:00:00Z"]
)
def test_a_deletion_terms_waits_for_the_grace_period_and_kills_whatever_its_stamp(
    stamp: str,
) -> None:
    one, known = deleted(pod(), 30, stamp), memory(kill_at=SECONDS + 30)
    assert signal_of(plan(one, observed(ran()), known)) == "TERM"
    known.signalled["app-0"] = "TERM"
    known.stops["app-0"] = Stop(since=SECONDS, term_at=SECONDS)
    assert wait_of(plan(one, observed(ran()), known)) == 30
    assert wait_of(plan(one, observed(ran()), known, later=29)) == 1
    assert signal_of(plan(one, observed(ran()), known, later=30)) == "KILL"
    known.signalled["app-0"] = "KILL"
    assert wait_of(plan(one, observed(ran()), known, later=30)) == 1


def test_an_image_may_have_a_stop_signal_of_its_own() -> None:
    one, known = deleted(pod(), 30), memory(kill_at=SECONDS + 30)
    assert signal_of(plan(one, observed(ran(stop_signal="QUIT")), known)) == "QUIT"


def test_a_grace_period_runs_from_when_the_end_was_seen_and_only_gets_shorter() -> None:
    one, known = pod(terminationGracePeriodSeconds=60), memory(unassigned=True)
    assert planner.kill_at(one, known, SECONDS) == SECONDS + 60
    known.kill_at = SECONDS + 60
    assert planner.kill_at(one, known, SECONDS + 5) == SECONDS + 60
    assert planner.kill_at(deleted(one, 1), known, SECONDS + 5) == SECONDS + 6
    assert planner.kill_at(deleted(one, 300), known, SECONDS + 5) == SECONDS + 60


@pytest.mark.parametrize("grace_seconds", [0, 1])
def test_a_process_has_term_and_two_seconds_however_short_the_grace(grace_seconds: int) -> None:
    one = deleted(pod(), grace_seconds)
    known = memory(kill_at=SECONDS + 1)
    assert signal_of(plan(one, observed(ran()), known)) == "TERM"
    assert signal_of(plan(one, observed(ran()), known, later=60)) == "TERM", "seen late"
    known.signalled["app-0"] = "TERM"
    known.stops["app-0"] = Stop(since=SECONDS, term_at=SECONDS)
    assert wait_of(plan(one, observed(ran()), known)) == 2
    assert signal_of(plan(one, observed(ran()), known, later=2)) == "KILL"


def test_after_the_last_container_everything_of_a_deleted_pod_goes() -> None:
    one = pod(metadata={"deletionTimestamp": "2030-01-01T00:00:30Z"})
    known, found = memory(), observed(ended())
    assert kinds(plan(one, found, known)) == ["RemoveContainer"]
    found.drop("app-0")
    assert kinds(plan(one, found, known)) == ["RemoveSandbox"]
    found.sandbox, known.volumes_version = None, ""
    assert kinds(plan(one, found, known)) == ["RemoveFiles"]
    known.files_removed = True
    assert kinds(plan(one, found, known)) == ["ReportGone"]


def test_a_created_container_of_a_deleted_pod_is_removed_and_never_started() -> None:
    one = pod(metadata={"deletionTimestamp": "2030-01-01T00:00:30Z"})
    planned = plan(one, observed(ran(state="created", started_at="")))
    assert kinds(planned) == ["RemoveContainer"]


def test_a_pod_that_is_not_assigned_any_more_has_its_grace_period() -> None:
    known = memory(unassigned=True, signalled={"app-0": "TERM"})
    assert wait_of(plan(pod(terminationGracePeriodSeconds=7), observed(ran()), known)) == 7


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_what_still_runs_of_a_pod_that_ended_is_stopped_and_nothing_is_started(phase: str) -> None:
    one = pod(status={"phase": phase}, containers=[container("a"), container("b")])
    assert signal_of(plan(one, observed(ran("a")))) == "TERM"
    found, known = observed(ran("a", state="exited")), memory()
    assert kinds(plan(one, found, known)) == ["RemoveSandbox"]
    found.sandbox, known.volumes_version = None, ""
    assert plan(one, found, known) == []


def test_the_active_deadline_fails_the_pod() -> None:
    one = pod(activeDeadlineSeconds=15, status={"startTime": "2030-01-01T00:00:50Z"})
    assert wait_of(plan(one, observed(ran()))) == 5
    assert wait_of(plan(one, observed(ran()), later=4)) == 1
    [step] = plan(one, observed(ran()), later=5)
    assert isinstance(step, steps.FailPod)
    assert step.failure == "DeadlineExceeded"


@pytest.mark.parametrize("start", ["2030-01-01T00:02:00Z", "9999-12-31T23:59:59Z"])
def test_a_start_in_the_future_does_not_put_off_the_deadline(start: str) -> None:
    """The clock has been set back since; or anybody has written that."""
    one = pod(activeDeadlineSeconds=15, status={"startTime": start})
    assert wait_of(plan(one, observed(ran()))) == 15


def test_a_pod_that_the_machine_does_not_take_fails_before_anything_is_made() -> None:
    refusal = planner.Refusal("SysctlForbidden", "forbidden sysctl")
    refused = partial(planner.plan, pod(), refusal=refusal)
    [step] = refused(observed(with_sandbox=False), memory(), SECONDS)
    assert isinstance(step, steps.FailPod)
    assert (step.failure, step.message) == ("SysctlForbidden", "Pod was rejected: forbidden sysctl")
    assert step.refused, "it reports no containers"
    # One that has been taken runs on, also when the operator allows less than before.
    assert "FailPod" not in kinds(refused(observed(ran()), memory(), SECONDS))


LIMITED = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]


def test_volumes_with_limits_are_measured_now_and_then() -> None:
    one = pod(volumes=LIMITED)
    known = memory(volumes_made=True)
    assert kinds(plan(one, observed(ran()), known)) == ["MeasureVolumes"]
    known.measuring = True
    assert kinds(plan(one, observed(ran()), known)) == []
    known.measuring, known.measure_at = False, SECONDS + 10
    assert wait_of(plan(one, observed(ran()), known, later=4)) == 6
    assert kinds(plan(one, observed(ran()), known, later=10)) == ["MeasureVolumes"]
    assert kinds(plan(pod(), observed(ran()), memory(volumes_made=True))) == []


def test_containers_with_limits_of_disk_are_measured_while_they_run() -> None:
    own = {"limits": {"ephemeral-storage": "1Mi"}}
    one, known = pod(containers=[container(resources=own)]), memory(volumes_made=True)
    found = observed(ran(state="exited", finished_at="2030-01-01T00:00:00Z"), ran(attempt=1))
    [step] = plan(one, found, known)
    assert isinstance(step, steps.MeasureVolumes)
    assert [status.attempt for status in step.containers] == [1]
    known.container_bytes = {"app": (1 << 20) + 1}
    [step] = plan(one, found, known)
    assert isinstance(step, steps.FailPod)


def test_a_volume_beyond_its_limit_fails_the_pod_within_a_second() -> None:
    known = memory(volumes_made=True, volume_bytes={"v": (1 << 20) + 1})
    [step] = plan(pod(volumes=LIMITED), observed(ran()), known)
    assert isinstance(step, steps.FailPod)
    assert (step.failure, step.event, step.grace_seconds) == ("Evicted", "Warning", 1)


def test_a_pod_that_ran_too_long_has_its_grace_period_before_the_kill() -> None:
    known = memory(
        failed=("DeadlineExceeded", "too long"),
        signalled={"app-0": "TERM"},
        kill_at=SECONDS + 9,
    )
    assert wait_of(plan(pod(), observed(ran()), known)) == 9
    assert signal_of(plan(pod(), observed(ran()), known, later=9)) == "KILL"


def test_after_an_end_with_the_machine_there_is_nothing_to_wait_for() -> None:
    end = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
    crashed = ran(attempt=3, state="exited", exit_code=255, started_at=end, finished_at=end)
    assert wait_of(plan(pod(), observed(crashed))) == 40
    assert kinds(plan(pod(), observed(replace(crashed, lost=True)))) == ["InspectImage"]


def test_a_pod_that_ran_too_long_is_stopped_whatever_its_phase_and_starts_nothing() -> None:
    one = pod(status={"phase": "Running"}, containers=[container("a"), container("b")])
    known = memory(failed=("DeadlineExceeded", "too long"))
    assert signal_of(plan(one, observed(ran("a"), ran("b", state="exited")), known)) == "TERM"
    ended = observed(ran("a", state="exited", exit_code=1), ran("b", state="exited"))
    assert kinds(plan(one, ended, known)) == ["RemoveSandbox"]


def test_containers_of_a_lost_sandbox_are_killed_before_a_new_one_is_made() -> None:
    found = observed(ran(), with_sandbox=False)
    [step] = plan(pod(), found)
    assert isinstance(step, steps.SignalContainer)
    assert step.signal == "KILL"


def test_changed_volumes_are_made_anew_without_touching_containers() -> None:
    planned = list(planner.plan(pod(), observed(ran()), memory(), SECONDS, volumes_version="2"))
    assert kinds(planned) == ["MakeVolumes"]


def test_a_failed_start_is_tried_as_a_new_attempt_after_a_wait() -> None:
    known = memory()
    created = ran(attempt=1, state="created", started_at="")
    known.start_failures["app-1"], known.ended["app-1"] = StartFailure("no", NOW), SECONDS
    assert wait_of(plan(pod(), observed(created), known)) == 10
    [step] = plan(pod(), observed(created), known, later=10)
    assert isinstance(step, steps.InspectImage)
    assert step.attempt == 2


def test_planning_changes_nothing() -> None:
    one, found, known = pod(), observed(ended(3)), memory()
    first = plan(one, found, known)
    assert plan(one, found, known) == first


HOOKS = {"postStart": {"sleep": {"seconds": 3}}, "preStop": {"sleep": {"seconds": 5}}}


def hooked(policy: str = "Always", **fields: Any) -> Pod:
    """A pod whose container has hooks."""
    return pod(
        restartPolicy=policy,
        terminationGracePeriodSeconds=9,
        containers=[container(**({"lifecycle": HOOKS} | fields))],
    )


def test_a_container_that_has_been_started_has_its_hook_called_once() -> None:
    known = memory()
    [step] = plan(hooked(), observed(ran()), known)
    assert isinstance(step, steps.RunHook)
    assert step.kind == "postStart"
    known.hooks[("app-0", "postStart")] = "running"
    assert plan(hooked(), observed(ran()), known) == []
    known.hooks[("app-0", "postStart")] = "done"
    assert plan(hooked(), observed(ran()), known) == []


@pytest.mark.parametrize("why", ["FailedPostStartHook", "liveness", "startup"])
def test_a_failure_stops_the_container_by_hook_term_and_kill(why: str) -> None:
    known, found = memory(), observed(ran())
    known.hooks[("app-0", "postStart")] = "done"
    if why == "FailedPostStartHook":
        known.hooks[("app-0", "postStart")] = "failed"
    else:
        known.probes[ProbeKey("app-0", why)] = ProbeState("failure")  # type: ignore[arg-type]
    [hook] = plan(hooked(), found, known)
    assert isinstance(hook, steps.RunHook)
    assert (hook.kind, hook.restart) == ("preStop", True)
    assert hook.message == (
        why
        if why == "FailedPostStartHook"
        else f"Container app failed {why} probe, will be restarted"
    )
    known.hooks[("app-0", "preStop")] = "running"
    known.stops["app-0"] = Stop(since=SECONDS, restart=True)
    assert wait_of(plan(hooked(), found, known)) == 9
    assert signal_of(plan(hooked(), found, known, later=9)) == "TERM"
    known.signalled["app-0"], known.stops["app-0"].term_at = "TERM", SECONDS + 9
    assert wait_of(plan(hooked(), found, known, later=9)) == 2, "two seconds after TERM"
    assert signal_of(plan(hooked(), found, known, later=11)) == "KILL"


@pytest.mark.parametrize(
    ("policy", "again"), [("Always", True), ("OnFailure", True), ("Never", False)]
)
def test_an_end_for_a_probe_is_a_failure_whatever_its_exit_code(policy: str, again: bool) -> None:
    known = memory(stops={"app-0": Stop(since=SECONDS, restart=True)})
    planned = plan(hooked(policy), observed(ended(code=0)), known)
    assert kinds(planned) == (["InspectImage"] if again else [])


def test_without_grace_a_hook_has_a_second() -> None:
    one, known = deleted(hooked(), 0), memory(kill_at=SECONDS + 1)
    assert kinds(plan(one, observed(ran()), known)) == ["RunHook"]
    known.hooks[("app-0", "preStop")] = "running"
    assert wait_of(plan(one, observed(ran()), known)) == 1
    assert signal_of(plan(one, observed(ran()), known, later=1)) == "TERM"


def test_a_probe_may_have_a_grace_period_of_its_own() -> None:
    probe = {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 2}
    known = memory(signalled={"app-0": "TERM"}, stops={"app-0": Stop(since=SECONDS, restart=True)})
    known.probes[ProbeKey("app-0", "liveness")] = ProbeState("failure")
    one = pod(containers=[container(livenessProbe=probe)])
    assert wait_of(plan(one, observed(ran()), known)) == 2


def test_volumes_that_were_made_once_keep_no_container_down() -> None:
    known = memory(volumes_made=True)
    known.fail("", "FailedMount", "no such ConfigMap", SECONDS)
    assert kinds(plan(pod(), observed(ended()), known)) == ["Wait", "InspectImage"]
    assert kinds(plan(pod(), observed(ended(), with_sandbox=False), known)) == ["Wait"]
    known.volumes_made = False
    assert kinds(plan(pod(), observed(ended()), known)) == ["Wait"]


def test_a_volume_that_fails_keeps_no_sick_container_alive() -> None:
    known = memory()
    known.fail("", "FailedMount", "no such ConfigMap", SECONDS)
    known.probes[ProbeKey("app-0", "liveness")] = ProbeState("failure")
    [step] = plan(pod(), observed(ran()), known)
    assert isinstance(step, steps.SignalContainer)
    assert step.signal == "TERM"
    known.signalled["app-0"], known.stops["app-0"] = "TERM", Stop(since=SECONDS, term_at=SECONDS)
    assert kinds(plan(pod(), observed(ran()), known)) == ["Wait", "Wait"]
