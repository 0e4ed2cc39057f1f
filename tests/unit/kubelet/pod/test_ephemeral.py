"""Ephemeral containers: when one begins, that it begins once, and what its status says."""

from datetime import UTC, datetime
from typing import Any

import pytest

from common.api.types.core_v1 import ContainerStatus as ApiStatus
from common.api.types.core_v1 import Pod
from node.kubelet.pod import planner
from node.kubelet.pod.fold import fold
from node.kubelet.pod.memory import CheckedImage, Moment, Observed, PodMemory, StartFailure
from node.kubelet.pod.outcomes import ContainerSeen
from node.kubelet.pod.status import pod_status
from node.kubelet.pod.steps import CreateContainer, Step
from node.kubelet.spec.supported import Findings
from node.runtime.base import ContainerStatus
from tests.fakes.pods import HOST, IMAGE, container, observed, pod, ran

NOW = datetime(2030, 1, 1, 0, 1, tzinfo=UTC)
SECONDS = 1000.0
READY = {"debug": CheckedImage(0, IMAGE, ready=True)}


def debugged(target: str = "", **spec: Any) -> Pod:
    """A pod with an ephemeral container."""
    debug = {"name": "debug", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    return pod(ephemeralContainers=[{**debug, "targetContainerName": target}], **spec)


def memory(**fields: Any) -> PodMemory:
    """A pod whose volumes are made."""
    return PodMemory(
        started_at=Moment(NOW, SECONDS),
        volumes_version="1",
        volumes_made=True,
        address="10.42.1.2",
        **fields,
    )


def over(name: str = "app", code: int = 0) -> ContainerStatus:
    """An attempt that has ended."""
    return ran(name, state="exited", exit_code=code, finished_at="2030-01-01T00:00:30Z")


def plan(one: Pod, found: Observed, known: PodMemory | None = None) -> list[Step]:
    """The steps now."""
    known = known or memory()
    for status in found.all():
        fold(ContainerSeen(status.id, status), one, found, known, Moment(NOW, SECONDS))
    return list(planner.plan(one, found, known, SECONDS, volumes_version="1"))


def kinds(planned: list[Step]) -> list[str]:
    """The names of the steps."""
    return [type(step).__name__ for step in planned]


def reported(one: Pod, found: Observed, known: PodMemory | None = None, **given: Any) -> ApiStatus:
    """The status of the ephemeral container."""
    known = known or memory()
    plan(one, found, known)
    made = pod_status(one, found, known, NOW, host_address=HOST.address, **given)
    [status] = made.ephemeralContainerStatuses
    return status


def test_it_begins_beside_the_others_also_while_init_containers_run() -> None:
    assert kinds(plan(debugged(), observed(ran()))) == ["InspectImage"]
    assert kinds(plan(debugged(), observed(ran()), memory(images=READY))) == ["CreateContainer"]
    created = ran("debug", state="created", started_at="")
    assert kinds(plan(debugged(), observed(ran(), created))) == ["StartContainer"]
    assert plan(debugged(), observed(ran(), ran("debug"))) == []
    one = debugged(initContainers=[container("setup")])
    assert kinds(plan(one, observed(ran("setup")))) == ["InspectImage"]


@pytest.mark.parametrize("code", [0, 1])
def test_it_runs_once_whatever_the_restart_policy(code: int) -> None:
    one, found = debugged(), observed(ran(), over("debug", code))
    assert plan(one, found) == []
    status = reported(one, found)
    assert status.state.terminated is not None
    assert status.state.terminated.exitCode == code
    one.status.ephemeralContainerStatuses = (status,)
    assert plan(one, observed(ran())) == [], "somebody has removed it"
    assert reported(one, observed(ran())) == status


def test_it_joins_the_processes_of_its_target() -> None:
    known = memory(images=READY)
    [step] = plan(debugged("app"), observed(ran(pid=77)), known)
    assert isinstance(step, CreateContainer)
    assert step.joins_pid == 77
    [step] = plan(debugged(), observed(ran(pid=77)), known)
    assert isinstance(step, CreateContainer)
    assert step.joins_pid == 0


def test_it_waits_for_a_target_that_does_not_run() -> None:
    one = debugged("app", containers=[container(restartPolicy="Never"), container("other")])
    found = observed(over(), ran("other"))
    assert plan(one, found, memory(images=READY)) == []
    status = reported(one, found)
    assert status.state.waiting is not None
    assert status.state.waiting.message == "container app does not run"


def test_one_that_an_earlier_kubelet_made_for_a_process_is_made_anew() -> None:
    found = observed(ran(pid=77), ran("debug", state="created", started_at=""))
    assert kinds(plan(debugged("app"), found)) == ["RemoveContainer"]
    assert kinds(plan(debugged("app"), found, memory(images=READY))) == ["StartContainer"]


def test_it_keeps_no_pod_alive() -> None:
    one = debugged(restartPolicy="Never")
    assert kinds(plan(one, observed(over(), ran("debug")))) == ["SignalContainer"]
    status = pod_status(one, observed(over()), memory(), NOW, host_address=HOST.address)
    assert status.phase == "Succeeded"


def test_it_is_stopped_with_a_deleted_pod() -> None:
    one = debugged(metadata={"deletionTimestamp": "2030-01-01T00:01:30Z"})
    assert kinds(plan(one, observed(ran(), ran("debug")))) == ["SignalContainer"] * 2


def test_it_outlives_a_restart_of_all_containers() -> None:
    codes = {"operator": "In", "values": [42]}
    rule = {"action": "RestartAllContainers", "exitCodes": codes}
    one = debugged(containers=[container(restartPolicy="Never", restartPolicyRules=[rule])])
    [step] = plan(one, observed(over(code=42), ran("debug")))
    assert step == planner.RemoveContainer(reason=step.reason, status=over(code=42))


def test_its_status_says_how_it_is_and_never_ready() -> None:
    status = reported(debugged(), observed(ran(), ran("debug")))
    assert status.state.running is not None
    assert (status.ready, status.started) == (False, None)
    failed = memory(start_failures={"debug-0": StartFailure("no such file", NOW)})
    created = ran("debug", state="created", started_at="")
    status = reported(debugged(), observed(ran(), created), failed)
    assert status.state.terminated is not None
    assert status.state.terminated.reason == "StartError"
    unsupported = Findings("", (("debug", "not supported: x"),))
    status = reported(debugged(), observed(ran()), findings=unsupported)
    assert status.state.waiting is not None
    assert status.state.waiting.reason == "CreateContainerConfigError"
