"""Which containers run again, by policies and rules of their own and the pod's."""

from datetime import UTC, datetime
from typing import Any

import pytest

from common.api import conditions
from common.api.types.core_v1 import Pod
from node.kubelet.pod import planner
from node.kubelet.pod.fold import fold
from node.kubelet.pod.memory import Moment, Observed, PodMemory, StartFailure, Stop
from node.kubelet.pod.outcomes import ContainerSeen
from node.kubelet.pod.restarting import has_finished, restarts
from node.kubelet.pod.status import pod_status
from node.runtime.base import ContainerStatus
from tests.fakes.pods import HOST, container, observed, pod, ran

NOW = datetime(2030, 1, 1, 0, 1, tzinfo=UTC)
SECONDS = 1000.0
LONG_AGO = {"started_at": "2029-12-31T23:51:00Z", "finished_at": "2029-12-31T23:51:00Z"}


def ended(name: str = "app", code: int = 0, **fields: Any) -> ContainerStatus:
    """An attempt that ended long ago."""
    return ran(name, state="exited", exit_code=code, **LONG_AGO | fields)


def memory(**fields: Any) -> PodMemory:
    """A pod whose volumes are made."""
    return PodMemory(started_at=Moment(NOW, SECONDS), volumes_version="1", **fields)


def rule(action: str, operator: str, *values: int) -> dict[str, Any]:
    """A rule for exit codes."""
    return {"action": action, "exitCodes": {"operator": operator, "values": list(values)}}


def ruled(*rules: dict[str, Any], policy: str = "Never", **fields: Any) -> dict[str, Any]:
    """A container with rules."""
    return container(restartPolicy=policy, restartPolicyRules=list(rules), **fields)


def seen(one: Pod, found: Observed, known: PodMemory) -> None:
    """Take in what is there."""
    for status in found.all():
        fold(ContainerSeen(status.id, status), one, found, known, Moment(NOW, SECONDS))


def plan(one: Pod, found: Observed, known: PodMemory | None = None) -> list[str]:
    """The steps, each with its container."""
    known = known or memory(address="10.42.1.2")
    seen(one, found, known)
    planned = planner.plan(one, found, known, SECONDS, volumes_version="1")
    named = [getattr(s, "container", None) or getattr(s, "status", None) for s in planned]
    return [
        f"{type(s).__name__} {n.name if n else s.reason}"
        for s, n in zip(planned, named, strict=True)
    ]


@pytest.mark.parametrize(
    ("rules", "code", "again"),
    [
        ([rule("Restart", "In", 42)], 42, True),
        ([rule("Restart", "In", 42)], 1, False),
        ([rule("Restart", "NotIn", 0, 1)], 2, True),
        ([rule("Restart", "NotIn", 0, 1)], 1, False),
        ([rule("Restart", "In", 0)], 0, True),
        ([], 42, False),
    ],
)
def test_a_rule_is_above_the_policy(rules: list[dict[str, Any]], code: int, again: bool) -> None:
    one = pod(containers=[ruled(*rules)])
    assert restarts(one, one.spec.containers[0], ended(code=code), memory()) is again
    assert has_finished(one, observed(ended(code=code)), memory()) is not again


def test_an_init_container_that_has_succeeded_does_not_run_again_for_a_rule() -> None:
    init = {**ruled(rule("Restart", "NotIn", 1)), "name": "setup"}
    one = pod(initContainers=[init])
    assert plan(one, observed(ended("setup"))) == ["InspectImage app"]
    assert plan(one, observed(ended("setup", 2))) == ["InspectImage setup"]
    assert has_finished(one, observed(ended("setup", 1)), memory())


def test_a_program_that_cannot_be_started_has_the_exit_code_128() -> None:
    one = pod(containers=[ruled(rule("Restart", "In", 128))])
    known = memory(start_failures={"app-0": StartFailure("no such file", NOW)})
    assert restarts(one, one.spec.containers[0], ran(state="created"), known)


def test_a_rule_is_not_for_what_was_stopped_to_be_restarted() -> None:
    one = pod(containers=[ruled(rule("RestartAllContainers", "In", 137), policy="Always")])
    known = memory(stops={"app-0": Stop(since=SECONDS, restart=True)}, address="10.42.1.2")
    assert plan(one, observed(ended(code=137)), known) == ["InspectImage app"]
    assert plan(one, observed(ended(code=137))) == ["RemoveContainer app"]


def whole() -> Pod:
    """A pod whose app container restarts all by the exit code 42."""
    return pod(
        initContainers=[container("setup"), container("proxy", restartPolicy="Always")],
        containers=[ruled(rule("RestartAllContainers", "In", 42)), container("other")],
        restartPolicy="Never",
    )


def test_all_containers_are_stopped_and_removed_and_the_cause_last() -> None:
    found = observed(ended("setup"), ran("proxy"), ended("app", 42), ran("other"))
    known = memory(address="10.42.1.2")
    assert plan(whole(), found, known) == ["SignalContainer proxy", "SignalContainer other"]
    found.put(ended("proxy", 143))
    found.put(ended("other", 137))
    left = ["RemoveContainer setup", "RemoveContainer proxy", "RemoveContainer other"]
    assert plan(whole(), found, known) == left
    for name in ("setup", "proxy", "other"):
        found.drop(f"{name}-0")
    assert plan(whole(), found, known) == ["RemoveContainer app"]
    found.drop("app-0")
    assert plan(whole(), found, known) == ["InspectImage setup"], "and it begins anew"


def test_the_cause_of_a_restart_of_all_waits_for_its_back_off() -> None:
    stamp = {"started_at": "2030-01-01T00:01:00Z", "finished_at": "2030-01-01T00:01:00Z"}
    last = ran(attempt=1, state="exited", exit_code=42, **stamp)
    assert plan(whole(), observed(last)) == ["Wait back-off"]


def test_while_all_are_restarted_the_pod_has_not_ended_and_says_so() -> None:
    one, known = whole(), memory()
    one.status.phase = "Running"
    found = observed(ended("setup"), ended("proxy", 143), ended("app", 42), ended("other", 137))
    seen(one, found, known)
    made = pod_status(one, found, known, NOW, host_address=HOST.address)
    assert made.phase == "Running"
    condition = conditions.find(made.conditions, "AllContainersRestarting")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "RestartAllContainersStarted")
    assert [s.state.terminated for s in (*made.initContainerStatuses, *made.containerStatuses)] == [
        None
    ] * 4
    one.status = made
    gone = observed()
    made = pod_status(one, gone, known, NOW, host_address=HOST.address)
    assert made.phase == "Running"
    assert [s.restartCount for s in made.containerStatuses] == [1, 1]
    assert [
        s.lastState.terminated and s.lastState.terminated.exitCode for s in made.containerStatuses
    ] == [42, 137]
    condition = conditions.find(made.conditions, "AllContainersRestarting")
    assert condition is not None
    assert condition.status == "False"
