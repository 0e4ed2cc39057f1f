"""What the kubelet remembers of a pod after each kind of outcome, and what people are told."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

import node.kubelet
from common.api import times
from common.api.types.core_v1 import Probe
from node.kubelet.pod import outcomes, steps
from node.kubelet.pod.fold import VANISHED_EXIT_CODE, VANISHED_MESSAGE, fold
from node.kubelet.pod.memory import (
    UNKNOWN_VERSION,
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
)
from node.kubelet.pod.outcomes import Outcome
from node.runtime.base import ImageStatus
from tests.fakes.invariants import checked
from tests.fakes.pods import IMAGE, container, observed, pod, ran, sandbox

NOW = datetime(2030, 1, 1, 0, 1, tzinfo=UTC)
SECONDS = 1000.0
"""The monotonic clock at that moment."""
ONE = pod().spec.containers[0]
FOUND = ImageStatus("sha256:ab", (IMAGE,), 1 << 20, "app")
CHANGING = {"add", "clear", "drop", "fail", "forget", "pop", "put", "setdefault", "update"}
"""Methods that change what they are called on."""


class Kept:
    """A pod, what is there of it and what is remembered."""

    def __init__(self, found: Observed | None = None, **fields: Any) -> None:
        self.pod = pod()
        self.observed = found or observed()
        self.memory = PodMemory(started_at=Moment(NOW, SECONDS), **fields)
        for status in self.observed.all():
            self.fold(outcomes.ContainerSeen(status.id, status))

    def fold(self, outcome: Outcome, *, later: float = 0) -> list[str]:
        """Fold an outcome, so many seconds later; answers the events as `reason: message`."""
        now = Moment(NOW + timedelta(seconds=later), SECONDS + later)
        told = fold(outcome, self.pod, self.observed, self.memory, now)
        return [f"{event.type} {event.reason}: {event.message}" for event in told]

    def failure(self, name: str = "app") -> tuple[str, str, int, float]:
        """What failed last: reason, message, how often, and for how long it is waited."""
        failed = self.memory.failures[name]
        return failed.reason, failed.message, failed.count, failed.retry_at - SECONDS

    def check_invariants(self) -> None:
        """Of what is observed and remembered."""
        self.observed.check_invariants()
        self.memory.check_invariants(self.observed)


@pytest.fixture(autouse=True)
def kept_well() -> Iterator[None]:
    """The invariants hold after each test."""
    with checked(Kept):
        yield


def test_the_kinds_of_outcome_are_all_listed() -> None:
    kinds = {
        kind
        for kind in vars(outcomes).values()
        if isinstance(kind, type) and kind.__module__ == outcomes.__name__
    }
    assert kinds == set(get_args(Outcome))


def test_only_pure_modules_change_what_is_remembered() -> None:
    root = Path(node.kubelet.__file__).parent
    shell = [root / "pod_worker.py", root / "kubelet.py", *root.glob("effects/*.py")]
    found = {
        f"{file.name}:{line}"
        for file in (*shell, *root.glob("probes/*.py"))
        for line in _writes(ast.parse(file.read_text()))
    }
    assert found == set()


def _writes(tree: ast.Module) -> Iterator[int]:
    """The lines that assign to a field of a memory or an observation, or change one."""
    for each in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(each, ast.Assign | ast.Delete):
            targets = [
                t.value for t in each.targets if isinstance(t, ast.Attribute | ast.Subscript)
            ]
        elif isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            targets = [each.func.value] if each.func.attr in CHANGING else []
        if any(re.search(r"\b(memory|observed)\b", ast.unparse(target)) for target in targets):
            yield each.lineno


def test_an_address_is_kept() -> None:
    kept = Kept()
    kept.fold(outcomes.AddressTaken("10.42.1.2"))
    assert kept.memory.address == "10.42.1.2"


def test_volumes_that_fail_are_waited_for_and_forgotten_when_they_are_made() -> None:
    kept = Kept()
    assert kept.fold(outcomes.VolumesFailed("no such Secret")) == [
        "Warning FailedMount: no such Secret"
    ]
    assert kept.failure("") == ("FailedMount", "no such Secret", 1, 10)
    kept.fold(outcomes.VolumesFailed("no such Secret"))
    assert kept.failure("")[2:] == (2, 20)
    assert kept.fold(outcomes.VolumesMade("7")) == []
    assert kept.memory.failures == {}
    assert (kept.memory.volumes_version, kept.memory.volumes_made) == ("7", True)


def test_what_is_slow_to_measure_is_measured_less_often() -> None:
    kept = Kept(volume_bytes={"a": 1, "b": 1})
    kept.fold(outcomes.Begun(steps.MeasureVolumes(reason="")))
    assert kept.memory.measuring
    kept.fold(outcomes.VolumesMeasured({"a": 5}, took_seconds=3.0, by_containers={"app": 7}))
    assert kept.memory.container_bytes == {"app": 7}
    assert not kept.memory.measuring
    assert kept.memory.volume_bytes == {"a": 5, "b": 1}, "what was not counted is as it was"
    assert kept.memory.measure_at == SECONDS + 30


def test_containers_that_were_there_before_a_sandbox_are_of_a_former_one() -> None:
    kept = Kept(observed(ran(), with_sandbox=False), failures={"": Failure("x", "", 1, 0)})
    kept.fold(outcomes.SandboxMade(sandbox("10.42.1.9")))
    assert kept.observed.sandbox == sandbox("10.42.1.9")
    assert kept.memory.address == "10.42.1.9"
    assert kept.memory.of_former_sandbox == {"app-0"}
    assert kept.memory.failures == {}


def test_a_sandbox_that_cannot_be_made_is_told_and_waited_for() -> None:
    kept = Kept()
    text = "Failed to create pod sandbox: no room"
    told = kept.fold(outcomes.SandboxFailed("no room"))
    assert told == [f"Warning FailedCreatePodSandBox: {text}"]
    assert kept.failure("") == ("FailedCreatePodSandBox", text, 1, 10)


def begin_image(kept: Kept) -> None:
    """The image of the only container is asked for."""
    kept.fold(outcomes.Begun(steps.InspectImage(reason="", container=ONE, attempt=0)))
    assert kept.memory.pulls == {"app": Pull(IMAGE)}


@pytest.mark.parametrize(
    ("policy", "found", "ready", "told"),
    [
        ("IfNotPresent", FOUND, True, "Normal Pulled"),
        ("IfNotPresent", None, False, ""),
        ("Always", FOUND, False, ""),
        ("Always", None, False, ""),
        ("Never", FOUND, True, "Normal Pulled"),
        ("Never", None, None, "Warning ErrImageNeverPull"),
    ],
)
def test_the_pull_policy_decides_over_an_image_that_is_here_or_not(
    policy: str, found: ImageStatus | None, ready: bool | None, told: str
) -> None:
    kept = Kept()
    begin_image(kept)
    one = pod(containers=[container(imagePullPolicy=policy)]).spec.containers[0]
    events = kept.fold(outcomes.ImageInspected(one, 3, found))
    assert [event.split(":")[0] for event in events[:1]] == ([told] if told else [])
    user = "app" if ready else ""
    known = {} if ready is None else {"app": CheckedImage(3, IMAGE, ready, user)}
    assert kept.memory.images == known
    assert kept.memory.pulls == {}
    text = f'Container image "{IMAGE}" is not present with pull policy of Never'
    if ready is None:
        assert kept.failure() == ("ErrImageNeverPull", text, 1, 10)


def test_a_pull_is_told_and_ends_the_back_off() -> None:
    kept = Kept()
    pull = outcomes.Begun(steps.PullImage(reason="", container=ONE, attempt=0))
    assert kept.fold(pull) == [f'Normal Pulling: Pulling image "{IMAGE}"']
    assert kept.memory.pulls == {"app": Pull(IMAGE)}
    kept.memory.fail("app", "ErrImagePull", "", SECONDS, image=IMAGE)
    [told] = kept.fold(outcomes.ImagePulled(ONE, 0, FOUND, 1.5))
    assert told == (
        f'Normal Pulled: Successfully pulled image "{IMAGE}" in 1.500s (1.500s including '
        "waiting). Image size: 1048576 bytes."
    )
    assert kept.memory.images == {"app": CheckedImage(0, IMAGE, ready=True, user="app")}
    assert (kept.memory.pulls, kept.memory.failures) == ({}, {})


def test_a_pull_that_fails_is_an_error_at_first_and_then_a_back_off() -> None:
    kept = Kept(images={"app": CheckedImage(0, IMAGE, ready=False)})
    failed = outcomes.ImagePullFailed(ONE, "manifest unknown")
    assert kept.fold(failed) == [
        f'Warning Failed: Failed to pull image "{IMAGE}": manifest unknown',
        "Warning Failed: Error: ErrImagePull",
    ]
    assert kept.failure() == ("ErrImagePull", "manifest unknown", 1, 10)
    assert kept.memory.images == {}, "it is inspected again: somebody may bring it"
    assert kept.fold(failed)[1:] == [
        "Warning Failed: Error: ErrImagePull",
        f'Normal BackOff: Back-off pulling image "{IMAGE}"',
    ]
    text = f'Back-off pulling image "{IMAGE}": ErrImagePull: manifest unknown'
    assert kept.failure() == ("ImagePullBackOff", text, 2, 20)


def test_a_name_that_is_no_images_is_told() -> None:
    kept = Kept()
    begin_image(kept)
    text = f'Failed to apply default image tag "{IMAGE}": uppercase'
    assert kept.fold(outcomes.ImageNameInvalid(ONE, "uppercase")) == [
        f"Warning InspectFailed: {text}",
        "Warning Failed: Error: InvalidImageName",
    ]
    assert kept.failure() == ("InvalidImageName", text, 1, 10)
    assert kept.memory.pulls == {}


def test_an_image_is_asked_for_again_when_the_runtime_did_not_answer() -> None:
    """What was asked may have been done: the image may be here now."""
    kept = Kept(images={"app": CheckedImage(0, IMAGE, ready=False)})
    begin_image(kept)
    assert kept.fold(outcomes.ImageUnknown(ONE)) == []
    assert kept.memory.pulls == {"app": Pull(IMAGE, SECONDS + 2)}
    assert kept.memory.images == {}


def test_an_image_that_somebody_has_removed_is_inspected_again() -> None:
    kept = Kept(images={"app": CheckedImage(0, IMAGE, ready=True)})
    assert kept.fold(outcomes.ImageMissing(ONE)) == []
    assert kept.memory.images == {}


def test_a_container_is_made_and_started_and_its_failures_are_forgotten() -> None:
    kept = Kept()
    for outcome, told in (
        (outcomes.ContainerCreated("app", "app-0"), "Normal Created: Container created"),
        (outcomes.ContainerStarted("app", "app-0"), "Normal Started: Container started"),
    ):
        kept.memory.fail("app", "CreateContainerError", "", SECONDS)
        assert kept.fold(outcome) == [told]
        assert kept.memory.failures == {}


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("reason", ["CreateContainerConfigError", "CreateContainerError"])
def test_a_container_that_cannot_be_made_waits_longer_but_for_its_configuration(
    reason: Any, count: int
) -> None:
    kept = Kept()
    failed = outcomes.ContainerNotCreated(ONE, reason, "it is so")
    for _ in range(count):
        assert kept.fold(failed) == ["Warning Failed: Error: it is so"]
    wait = 10 if reason == "CreateContainerConfigError" else 10 * 2 ** (count - 1)
    assert kept.failure() == (reason, "it is so", count, wait)


def test_a_start_that_fails_is_the_end_of_the_attempt() -> None:
    kept = Kept(observed(ran(state="created", started_at="")))
    told = kept.fold(outcomes.ContainerNotStarted("app", "app-0", "no such file"))
    assert told == ["Warning Failed: Error: no such file"]
    assert kept.memory.start_failures == {"app-0": StartFailure("no such file", NOW)}
    assert kept.memory.ended == {"app-0": SECONDS}


@pytest.mark.parametrize(("minutes", "stable"), [(9, {}), (10, {"app": 7})])
@pytest.mark.parametrize("newest_first", [False, True])
def test_the_back_off_counts_from_the_last_attempt_that_ran_for_ten_minutes(
    minutes: int, stable: dict[str, int], newest_first: bool
) -> None:
    end = f"2030-01-01T00:{minutes:02}:00Z"
    attempts = [ran(attempt=n, state="exited", finished_at=end) for n in (6, 7)]
    crashed = ran(attempt=8, state="exited", started_at=end, finished_at=end)
    kept = Kept()
    kept.fold(outcomes.Relisted([*attempts, crashed][:: -1 if newest_first else 1], None))
    assert kept.memory.stable_from == stable


def test_a_stop_begins_with_its_first_step_and_is_told_once() -> None:
    kept = Kept(observed(ran()))
    hook = steps.RunHook(
        reason="", status=ran(), container=ONE, kind="preStop", message="why", restart=True
    )
    term = steps.SignalContainer(reason="", status=ran(), signal="TERM", message="why")
    assert kept.fold(outcomes.Begun(hook)) == ["Normal Killing: why"]
    assert kept.memory.hooks == {("app-0", "preStop"): "running"}
    assert kept.fold(outcomes.Begun(term), later=3) == []
    assert kept.memory.stops == {"app-0": Stop(since=SECONDS, restart=True)}
    kept.fold(outcomes.ContainerSignalled("app-0", "TERM"), later=4)
    kept.fold(outcomes.ContainerSignalled("app-0", "KILL"), later=9)
    assert kept.memory.signalled == {"app-0": "KILL"}
    assert kept.memory.stops["app-0"].term_at == SECONDS + 4


def test_a_stop_of_which_there_is_nothing_to_say_is_not_told() -> None:
    kept = Kept(observed(ran()))
    kill = steps.SignalContainer(reason="its sandbox is gone", status=ran(), signal="KILL")
    assert kept.fold(outcomes.Begun(kill)) == []
    assert "app-0" in kept.memory.stops


@pytest.mark.parametrize("kind", ["postStart", "preStop"])
@pytest.mark.parametrize("result", ["done", "failed", "unknown"])
def test_a_hook_is_called_again_only_when_nobody_knows_what_came_of_it(
    kind: Any, result: Any
) -> None:
    kept, key = Kept(observed(ran())), ("app-0", kind)
    begun = outcomes.Begun(steps.RunHook(reason="", status=ran(), container=ONE, kind=kind))
    kept.fold(begun)
    told = kept.fold(outcomes.HookEnded("app-0", "app", kind, result))
    title = f"{kind[0].upper()}{kind[1:]}Hook"
    assert told == ([f"Warning Failed{title}: {title} failed"] if result == "failed" else [])
    assert kept.memory.hooks == ({} if result == "unknown" else {key: result})
    assert kept.memory.hook_retries == ({key: SECONDS + 2} if result == "unknown" else {})
    kept.fold(begun)
    assert kept.memory.hook_retries == {}


def test_a_container_is_seen_and_gone() -> None:
    kept = Kept()
    kept.fold(outcomes.ContainerSeen("app-0", ran()))
    assert kept.observed.latest("app") == ran()
    kept.fold(outcomes.ContainerSeen("app-0", None))
    assert kept.observed.all() == []


def test_a_process_that_the_runtime_takes_for_running_has_ended_all_the_same() -> None:
    kept = Kept(observed(ran(pid=7)))
    kept.fold(outcomes.ContainerVanished("app-0"))
    for outcome in (outcomes.ContainerSeen("app-0", ran(pid=7)), outcomes.Relisted([ran()], None)):
        kept.fold(outcome, later=60)
        latest = kept.observed.latest("app")
        assert latest is not None
        assert (latest.state, latest.pid, latest.exit_code) == ("exited", 0, VANISHED_EXIT_CODE)
        assert latest.finished_at == "2030-01-01T00:01:00Z", "when it was first missed"
    assert kept.memory.messages == {"app-0": VANISHED_MESSAGE}


@pytest.mark.parametrize(
    ("started", "ended"),
    [
        ("2029-12-31T00:00:00Z", "2030-01-01T00:01:00Z"),
        ("2030-01-02T00:00:00Z", "2030-01-02T00:00:00Z"),
    ],
)
def test_what_ended_with_the_machine_ended_when_it_was_first_seen_and_after_its_start(
    started: str, ended: str
) -> None:
    kept = Kept()
    gone = ran(state="exited", started_at=started, lost=True)
    for seconds in (0, 60):
        kept.fold(outcomes.ContainerSeen("app-0", gone), later=seconds)
        assert kept.observed.latest("app") == replace(gone, finished_at=ended)


AN_HOUR = 3600.0


@pytest.mark.parametrize(
    ("state", "started", "finished", "began", "ended"),
    [
        ("running", "2030-01-01T00:00:40Z", "", -20, None),
        ("running", "2030-01-01T00:02:00Z", "", 0, None),
        ("running", "", "", 0, None),
        ("exited", "2030-01-01T00:00:30Z", "2030-01-01T00:00:40Z", -30, -20),
        ("exited", "2030-01-01T00:01:50Z", "2030-01-01T00:02:00Z", -310, -300),
        ("exited", "", "2030-01-01T00:00:40Z", None, -20),
        ("unknown", "2030-01-01T00:00:30Z", "", None, 0),
    ],
)
def test_a_stamp_is_compared_with_the_clock_when_it_is_first_seen(
    state: Any, started: str, finished: str, began: float | None, ended: float | None
) -> None:
    """What is in the future is from before the clock was set back."""
    kept = Kept()
    status = ran(state=state, started_at=started, finished_at=finished)
    for later in (0.0, AN_HOUR):
        kept.fold(outcomes.ContainerSeen("app-0", status), later=later)
        assert kept.memory.began == ({} if began is None else {"app-0": SECONDS + began})
        assert kept.memory.ended == ({} if ended is None else {"app-0": SECONDS + ended})


def test_a_run_that_was_seen_from_its_start_is_as_long_as_it_was() -> None:
    """Whatever the stamps say: the clock was set forward for its end, and back for another's."""
    for end in ("2030-01-01T01:01:00Z", "2029-12-31T23:01:00Z"):
        kept = Kept()
        kept.fold(outcomes.ContainerSeen("app-0", ran(started_at="2030-01-01T00:01:00Z")))
        stopped = ran(state="exited", started_at="2030-01-01T00:01:00Z", finished_at=end)
        now = Moment(times.parse(end), SECONDS + 5)
        fold(outcomes.ContainerSeen("app-0", stopped), kept.pod, kept.observed, kept.memory, now)
        assert kept.memory.run_seconds("app-0") == 5


def test_a_relist_is_the_truth() -> None:
    kept = Kept(observed(ran(), ran("old", state="exited")), address="10.42.1.2")
    kept.fold(outcomes.Relisted([ran()], sandbox("10.42.1.9")))
    assert [status.name for status in kept.observed.all()] == ["app"]
    assert kept.memory.address == "10.42.1.9"
    kept.fold(outcomes.Relisted([], None))
    assert (kept.observed.all(), kept.observed.sandbox) == ([], None)
    assert kept.memory.address == "10.42.1.9", "a pod keeps it for its next sandbox"


def test_a_termination_message_is_kept_until_its_container_goes() -> None:
    kept = Kept(observed(ran(state="exited")))
    kept.fold(outcomes.MessageRead("app-0", "out of coffee"))
    assert kept.memory.messages == {"app-0": "out of coffee"}
    kept.fold(outcomes.ContainerRemoved("app-0"))
    assert (kept.memory.messages, kept.observed.all()) == ({}, [])


def test_what_comes_of_a_container_that_is_gone_is_not_remembered() -> None:
    kept = Kept(observed(ran()))
    kept.fold(outcomes.ProbeAnswered(ProbeKey("app-0", "liveness"), Probe(), success=True))
    kept.fold(outcomes.Relisted([], None))
    for outcome in (
        outcomes.HookEnded("app-0", "app", "postStart", "failed"),
        outcomes.HookEnded("app-0", "app", "postStart", "unknown"),
        outcomes.ContainerVanished("app-0"),
        outcomes.ContainerNotStarted("app", "app-0", "no such file"),
        outcomes.ContainerSignalled("app-0", "TERM"),
        outcomes.MessageRead("app-0", "out of coffee"),
        outcomes.Begun(steps.SignalContainer(reason="", status=ran(), signal="TERM", message="x")),
        outcomes.Begun(steps.RunHook(reason="", status=ran(), container=ONE, kind="preStop")),
    ):
        assert kept.fold(outcome) == []
    assert kept.memory == PodMemory(started_at=Moment(NOW, SECONDS))


def test_a_probe_comes_to_a_result_after_a_run_of_equal_answers() -> None:
    key = ProbeKey("app-0", "liveness")
    kept = Kept(observed(ran()), probes={key: ProbeState("success")})
    for expected in ("success", "failure"):
        kept.fold(outcomes.ProbeAnswered(key, Probe(failureThreshold=2), success=False))
        assert kept.memory.probes[key].result == expected
    kept.fold(outcomes.ProbeAnswered(ProbeKey("gone-0", "liveness"), Probe(), success=True))
    assert set(kept.memory.probes) == {key}


def test_removals_go_on_until_nothing_is_left() -> None:
    made = {"address": "10.42.1.2", "volumes_version": "7", "volumes_made": True}
    kept = Kept(**made)
    kept.fold(outcomes.SandboxRemoved(volumes_left=True))
    assert kept.observed.sandbox is None
    assert (kept.memory.volumes_version, kept.memory.address) == ("7", "10.42.1.2")
    kept.fold(outcomes.SandboxRemoved(volumes_left=False))
    assert (kept.memory.volumes_version, kept.memory.address) == ("", "")
    assert not kept.memory.volumes_made
    kept.fold(outcomes.SandboxRemoved(volumes_left=True))
    assert kept.memory.volumes_version == UNKNOWN_VERSION, "what is left is removed next"
    kept.fold(outcomes.FilesRemoved(files_left=True))
    assert not kept.memory.files_removed
    kept.fold(outcomes.FilesRemoved(files_left=False))
    assert kept.memory.files_removed


def test_a_refused_removal_is_told_and_waits_longer_each_time_until_something_changes() -> None:
    kept = Kept()
    text = "error killing pod: busy"
    for count, seconds in ((1, 2), (2, 4), (3, 8)):
        assert kept.fold(outcomes.RemovalFailed("busy")) == [f"Warning FailedKillPod: {text}"]
        failure = Failure("FailedKillPod", text, count, SECONDS + seconds)
        assert kept.memory.removal_failure == failure
    for outcome in (
        outcomes.FilesRemoved(files_left=True),
        outcomes.PodAssigned(),
        outcomes.PodUnassigned(),
        outcomes.MachineHalting(1.0),
    ):
        kept.memory.removal_failure = failure
        kept.fold(outcome)
        assert kept.memory.removal_failure is None


def test_a_change_of_the_pod_retries_what_its_references_made_fail() -> None:
    kept = Kept()
    for name, reason in (
        ("", "FailedMount"),
        ("a", "CreateContainerConfigError"),
        ("b", "ErrImagePull"),
    ):
        kept.memory.fail(name, reason, "", SECONDS)
    kept.fold(outcomes.PodAssigned())
    assert set(kept.memory.failures) == {"b"}


def test_the_end_of_a_pod_is_timed_from_the_first_round_that_sees_it() -> None:
    kept = Kept(observed(ran()))
    kept.fold(outcomes.RoundBegun())
    assert kept.memory.kill_at is None
    kept.fold(outcomes.PodUnassigned())
    assert kept.memory.unassigned
    for later in (0, 5):
        kept.fold(outcomes.RoundBegun(), later=later)
        assert kept.memory.kill_at == SECONDS + 30


def test_a_round_takes_over_what_was_reported_of_hooks_and_probes() -> None:
    probed = container(
        readinessProbe={"tcpSocket": {"port": 80}},
        lifecycle={"postStart": {"sleep": {"seconds": 3}}},
    )
    reported = {
        "containerStatuses": [
            {
                "name": "app",
                "ready": True,
                "image": IMAGE,
                "imageID": "",
                "restartCount": 0,
                "containerID": "podman://app-0",
                "state": {"running": {"startedAt": "2030-01-01T00:00:00Z"}},
            }
        ]
    }
    kept = Kept(observed(ran()))
    kept.pod = pod(containers=[probed], status=reported)
    kept.fold(outcomes.RoundBegun())
    assert kept.memory.hooks == {("app-0", "postStart"): "done"}
    assert kept.memory.probes == {ProbeKey("app-0", "readiness"): ProbeState("success")}


def test_a_machine_that_goes_down_gives_its_pods_no_more_than_its_own_time() -> None:
    kept = Kept(observed(ran()))
    kept.fold(outcomes.MachineHalting(10))
    assert (kept.memory.halting, kept.memory.kill_at) == (True, SECONDS + 10)
    kept.fold(outcomes.MachineHalting(60))
    assert kept.memory.kill_at == SECONDS + 10


@pytest.mark.parametrize(("grace", "end"), [(None, None), (1, SECONDS + 1)])
def test_a_pod_that_the_kubelet_ends_has_failed(grace: int | None, end: float | None) -> None:
    kept = Kept()
    step = steps.FailPod(
        reason="", failure="Evicted", message="too large", event="Warning", grace_seconds=grace
    )
    assert kept.fold(outcomes.Begun(step)) == ["Warning Evicted: too large"]
    assert kept.memory.failed == ("Evicted", "too large")
    assert kept.memory.kill_at == end


def test_work_that_was_cancelled_is_not_waited_for() -> None:
    kept = Kept(pulls={"app": Pull(IMAGE)}, measuring=True)
    kept.fold(outcomes.WorkCancelled())
    assert (kept.memory.pulls, kept.memory.measuring) == ({}, False)


def test_the_same_outcomes_at_the_same_moments_come_to_the_same_memory() -> None:
    kept, again = Kept(), Kept()
    for each in (kept, again):
        begin_image(each)
        each.fold(outcomes.ImagePullFailed(ONE, "no"), later=1)
        each.fold(outcomes.ContainerSeen("app-0", ran(state="exited")), later=2)
        each.fold(outcomes.ContainerNotStarted("app", "app-0", "no"), later=3)
    assert (kept.memory, kept.observed) == (again.memory, again.observed)
