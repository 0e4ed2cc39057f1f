"""The status that the kubelet reports, by what is there and what has failed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.api import conditions
from common.api.types.core_v1 import Pod, PodStatus
from node.kubelet.pod.memory import Moment, Observed, PodMemory, StartFailure
from node.kubelet.pod.status import ended_with_machine, pod_status
from node.kubelet.spec.supported import Findings
from tests.fakes.pods import HOST, IMAGE, UID, container, observed, pod, ran

NOW = datetime(2030, 1, 1, 0, 1, tzinfo=UTC)


def memory(**fields: Any) -> PodMemory:
    """A pod that has been here for a minute."""
    began = Moment(NOW - timedelta(minutes=1), 0.0)
    return PodMemory(started_at=began, address="10.42.1.2", **fields)


def status(
    one: Pod,
    found: Observed,
    known: PodMemory | None = None,
    *,
    now: datetime = NOW,
    findings: Findings = Findings(),  # noqa: B008 (immutable)
) -> PodStatus:
    """The status now."""
    return pod_status(
        one, found, known or memory(), now, host_address=HOST.address, findings=findings
    )


def exited(name: str = "app", attempt: int = 0, code: int = 1, **fields: Any) -> Any:
    """An attempt that has ended just now."""
    return ran(
        name,
        attempt,
        state="exited",
        finished_at="2030-01-01T00:01:00Z",
        exit_code=code,
        **fields,
    )


def truth(of: PodStatus) -> dict[str, str]:
    """Condition -> status."""
    return {condition.type: condition.status for condition in of.conditions}


def test_a_pod_that_has_just_come_is_pending_and_its_containers_are_being_created() -> None:
    made = status(pod(), observed(with_sandbox=False))
    assert made.phase == "Pending"
    [one] = made.containerStatuses
    assert one.state.waiting is not None
    assert one.state.waiting.reason == "ContainerCreating"
    assert (one.ready, one.started, one.restartCount) == (False, False, 0)
    assert truth(made) == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "ContainersReady": "False",
        "Ready": "False",
        "PodScheduled": "True",
    }
    assert made.podIP == ""
    assert made.hostIP == "10.0.0.11"
    assert made.startTime == "2030-01-01T00:00:00Z"


def test_a_running_pod_is_ready_and_has_an_address() -> None:
    made = status(pod(), observed(ran(image="localhost/demo:1", image_id="sha256:ab")))
    assert made.phase == "Running"
    [one] = made.containerStatuses
    assert one.state.running is not None
    assert one.state.running.startedAt == "2030-01-01T00:00:00Z"
    assert (one.ready, one.started) == (True, True)
    assert one.containerID == "podman://app-0"
    assert one.imageID == "sha256:ab"
    assert set(truth(made).values()) == {"True"}
    assert made.podIP == "10.42.1.2"
    assert [ip.ip for ip in made.podIPs] == ["10.42.1.2"]
    assert made.qosClass == "BestEffort"


def test_a_pod_on_the_machines_network_has_the_machines_address() -> None:
    made = status(pod(hostNetwork=True), observed(ran()))
    assert made.podIP == made.hostIP == "10.0.0.11"


def test_a_readiness_gate_holds_ready_but_not_the_containers() -> None:
    gate = [{"conditionType": "example.com/gate"}]
    made = status(pod(readinessGates=gate), observed(ran()))
    assert truth(made)["ContainersReady"] == "True"
    assert truth(made)["Ready"] == "False"


def test_a_pod_whose_machine_goes_down_runs_and_is_not_ready() -> None:
    """Nobody is led to it any more, while it serves who was."""
    made = status(pod(), observed(ran()), memory(halting=True))
    assert made.phase == "Running"
    assert truth(made)["Ready"] == truth(made)["ContainersReady"] == "False"


def test_a_reason_stays_as_long_as_the_phase() -> None:
    known = {"reason": "Preempted", "message": "for another"}
    one = pod(status={"phase": "Failed", **known})
    kept = status(one, observed(ran()))
    assert (kept.phase, kept.reason, kept.message) == ("Failed", "Preempted", "for another")
    gone = status(pod(status={"phase": "Pending", **known}), observed(ran()))
    assert (gone.phase, gone.reason, gone.message) == ("Running", "", "")


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    ],
)
def test_a_failure_is_the_reason_why_a_container_waits(reason: str) -> None:
    known = memory()
    known.fail("app", reason, "because", 0.0, image=IMAGE)
    made = status(pod(), observed(), known)
    waiting = made.containerStatuses[0].state.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == (reason, "because")
    assert made.phase == "Pending"


def test_a_field_that_cannot_be_carried_out_is_named() -> None:
    text = "not supported by this kubelet yet: spec.containers[app].livenessProbe"
    made = status(pod(), observed(), findings=Findings(containers=(("app", text),)))
    waiting = made.containerStatuses[0].state.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("CreateContainerConfigError", text)


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        ("Always", (0, 0), "Running"),
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 1), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (0, 1), "Running"),
    ],
)
def test_the_phase_follows_from_exit_codes_and_restart_policy(
    policy: str, codes: tuple[int, int], phase: str
) -> None:
    one = pod(containers=[container("a"), container("b")], restartPolicy=policy)
    made = status(one, observed(exited("a", code=codes[0]), exited("b", code=codes[1])))
    assert made.phase == phase


def test_a_finished_pod_says_so_in_its_conditions() -> None:
    made = status(pod(restartPolicy="Never"), observed(exited(code=0)))
    found = conditions.find(made.conditions, "Ready")
    assert found is not None
    assert (found.status, found.reason) == ("False", "PodCompleted")
    [one] = made.containerStatuses
    assert one.state.terminated is not None
    assert one.state.terminated.reason == "Completed"
    assert one.ready is False


def test_an_ended_pod_stays_as_it_ended() -> None:
    one = pod(status={"phase": "Failed"}, restartPolicy="Never")
    assert status(one, observed(ran())).phase == "Failed"


def test_a_crash_loop_shows_its_back_off_and_the_former_end() -> None:
    made = status(pod(), observed(exited(attempt=2, code=3)))
    [one] = made.containerStatuses
    assert one.state.waiting is not None
    assert one.state.waiting.reason == "CrashLoopBackOff"
    assert one.state.waiting.message == (
        f"back-off 20s restarting failed container=app pod=web_default({UID})"
    )
    assert one.lastState.terminated is not None
    assert (one.lastState.terminated.exitCode, one.lastState.terminated.reason) == (3, "Error")
    assert one.restartCount == 2
    assert made.phase == "Running"


def test_the_message_of_a_crash_loop_does_not_change_with_every_look() -> None:
    found = observed(exited(attempt=2))
    looks = [
        status(pod(), found, now=NOW + timedelta(seconds=s)).containerStatuses for s in (0, 5, 19)
    ]
    assert looks[0] == looks[1] == looks[2]


def test_a_restarted_container_remembers_how_it_ended_before() -> None:
    before, now_running = exited(attempt=0, code=137, oom_killed=True), ran(attempt=1)
    made = status(pod(), observed(before, now_running))
    [one] = made.containerStatuses
    assert one.restartCount == 1
    assert one.lastState.terminated is not None
    assert one.lastState.terminated.reason == "OOMKilled"


def test_a_program_that_cannot_be_started_is_a_start_error_128() -> None:
    known = memory(start_failures={"app-0": StartFailure("no such file", NOW)})
    created = ran(state="created", started_at="")
    made = status(pod(restartPolicy="Never"), observed(created), known)
    ended = made.containerStatuses[0].state.terminated
    assert ended is not None
    assert (ended.exitCode, ended.reason, ended.message) == (128, "StartError", "no such file")
    assert made.phase == "Failed"


def test_a_termination_message_is_shown() -> None:
    known = memory(messages={"app-0": "out of coffee"})
    made = status(pod(restartPolicy="Never"), observed(exited()), known)
    ended = made.containerStatuses[0].state.terminated
    assert ended is not None
    assert ended.message == "out of coffee"


def test_the_messages_of_all_ends_have_12_kib_together() -> None:
    names = ("a", "b", "c", "d")
    known = memory(messages={f"{name}-0": "\u00e9" * 4000 for name in names})
    one = pod(containers=[container(name) for name in names], restartPolicy="Never")
    made = status(one, observed(*(exited(name) for name in names)), known)
    ends = [one.state.terminated for one in made.containerStatuses]
    assert [len(end.message.encode()) for end in ends if end] == [3072] * 4


def test_while_init_containers_run_the_others_wait_for_them() -> None:
    made = status(pod(initContainers=[container("setup")]), observed(ran("setup")))
    waiting = made.containerStatuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "PodInitializing"
    assert made.phase == "Pending"
    found = conditions.find(made.conditions, "Initialized")
    assert found is not None
    assert found.message == "containers with incomplete status: [setup]"


def test_an_init_container_that_fails_for_good_fails_the_pod() -> None:
    one = pod(initContainers=[container("setup")], restartPolicy="Never")
    assert status(one, observed(exited("setup", code=2))).phase == "Failed"


def test_the_deadline_is_the_pods_reason() -> None:
    made = status(pod(), observed(), memory(failed=("DeadlineExceeded", "too long")))
    assert (made.phase, made.reason, made.message) == ("Failed", "DeadlineExceeded", "too long")
    assert [one.name for one in made.containerStatuses] == ["app"]


def test_a_refused_pod_has_failed_without_containers() -> None:
    known = memory(failed=("SysctlForbidden", "no"), refused=True)
    made = status(pod(initContainers=[container("first")]), observed(with_sandbox=False), known)
    assert (made.phase, made.reason) == ("Failed", "SysctlForbidden")
    assert (made.initContainerStatuses, made.containerStatuses) == ((), ())


def test_a_container_that_ended_with_the_machine_has_an_unknown_end() -> None:
    made = status(pod(restartPolicy="Never"), observed(exited(code=255, lost=True)))
    end = made.containerStatuses[0].state.terminated
    assert end is not None
    assert (end.exitCode, end.reason) == (255, "Unknown")
    assert ended_with_machine(made) == {"app-0": "2030-01-01T00:01:00Z"}
    assert ended_with_machine(status(pod(), observed(exited(code=255)))) == {}


DELETED = {"deletionTimestamp": "2030-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (143, "Failed")])
def test_a_deleted_pod_ends_and_keeps_what_was_reported_of_containers_that_have_gone(
    code: int, phase: str
) -> None:
    init, spec = exited("setup", code=0), [container("setup")]
    one = pod(initContainers=spec, metadata=DELETED, status={"phase": "Running"})
    one.status = status(one, observed(init, ran()))
    assert one.status.phase == "Running"
    first, second = exited(code=1), exited(attempt=1, code=code)
    one.status = ended = status(one, observed(init, first, second))
    assert (ended.phase, truth(ended)["Initialized"]) == (phase, "True")
    for left in (observed(init, second), observed(second), observed(with_sandbox=False)):
        one.status = kept = status(one, left)
        assert kept.phase == phase
        assert kept.containerStatuses == ended.containerStatuses
        assert kept.initContainerStatuses == ended.initContainerStatuses
        assert truth(kept)["Initialized"] == "True"


def test_a_container_that_ran_and_is_not_there_any_more_has_an_unknown_end() -> None:
    one = pod(metadata=DELETED)
    one.status = status(one, observed(ran()))
    made = status(one, observed())
    [kept] = made.containerStatuses
    assert kept.state.terminated is not None
    assert kept.state.terminated.reason == "ContainerStatusUnknown"
    assert (kept.state.terminated.exitCode, kept.ready, kept.started) == (137, False, False)
    assert (made.phase, kept.containerID) == ("Failed", "podman://app-0")


def test_a_container_that_has_gone_while_it_waited_ended_as_its_last_attempt_did() -> None:
    one = pod()
    one.status = waits = status(one, observed(exited(attempt=2, code=3)))
    assert waits.containerStatuses[0].state.waiting is not None
    one.metadata.deletionTimestamp = "2030-01-01T00:00:30Z"  # type: ignore[assignment]
    made = status(one, observed())
    [kept] = made.containerStatuses
    assert kept.state == waits.containerStatuses[0].lastState
    assert kept.lastState.terminated is None
    assert (made.phase, kept.restartCount) == ("Failed", 2)


def test_a_deleted_pod_that_never_began_has_failed() -> None:
    made = status(pod(metadata=DELETED), observed(with_sandbox=False))
    assert made.phase == "Failed"
    assert made.containerStatuses[0].state.waiting is not None


def test_a_container_that_is_made_anew_has_nothing_of_the_former_one() -> None:
    one = pod()
    one.status = status(one, observed(ran()))
    [made] = status(one, observed()).containerStatuses
    assert (made.state.terminated, made.containerID) == (None, "")


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_a_pod_past_its_deadline_has_not_ended_while_a_container_runs(phase: str) -> None:
    one, known = pod(status={"phase": phase}), memory(failed=("DeadlineExceeded", "too long"))
    made = status(one, observed(ran()), known)
    assert (made.phase, made.reason, made.message) == (phase, "", "")
    assert made.containerStatuses[0].state.running is not None
    assert truth(made)["ContainersReady"] == "True"
    one.status = made
    made = status(one, observed(exited(code=137)), known)
    assert (made.phase, made.reason, made.message) == ("Failed", "DeadlineExceeded", "too long")


def test_transition_times_stay_while_nothing_changes() -> None:
    one = pod()
    first = status(one, observed(ran()))
    one.status = first
    second = status(one, observed(ran()), now=NOW + timedelta(hours=1))
    assert second.conditions == first.conditions


def test_conditions_of_others_are_left_to_them() -> None:
    gate = {"type": "example.com/gate", "status": "True"}
    one = pod(status={"conditions": [gate]})
    assert conditions.find(status(one, observed(ran())).conditions, "example.com/gate") is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [],
            'corresponding condition of pod readiness gate "example.com/gate" does not exist.',
        ),
        (
            [{"type": "example.com/gate", "status": "False"}],
            'the status of pod readiness gate "example.com/gate" is not "True", but False',
        ),
    ],
)
def test_an_unmet_gate_says_so(given: list[dict[str, str]], message: str) -> None:
    gates = [{"conditionType": "example.com/gate"}]
    made = status(pod(readinessGates=gates, status={"conditions": given}), observed(ran()))
    found = conditions.find(made.conditions, "Ready")
    assert found is not None
    assert (found.status, found.reason, found.message) == (
        "False",
        "ReadinessGatesNotReady",
        message,
    )


def test_a_met_gate_makes_the_pod_ready() -> None:
    gates = [{"conditionType": "example.com/gate"}]
    met = {"conditions": [{"type": "example.com/gate", "status": "True"}]}
    made = status(pod(readinessGates=gates, status=met), observed(ran()))
    assert truth(made)["Ready"] == "True"


def test_an_init_container_whose_turn_has_not_come_waits_as_the_others_do() -> None:
    init = [container("first"), container("second")]
    made = status(pod(initContainers=init), observed(ran("first")))
    waiting = made.initContainerStatuses[1].state.waiting
    assert waiting is not None
    assert waiting.reason == "PodInitializing"


def test_the_status_says_which_generation_of_the_spec_it_is_about() -> None:
    one = pod(metadata={"generation": 3})
    made = status(one, observed())
    assert made.observedGeneration == 3
    assert {condition.observedGeneration for condition in made.conditions} == {3}
