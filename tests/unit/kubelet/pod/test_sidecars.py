"""Sidecars: when they begin, run again and stop, and what a pod's status says of them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from common.api.types.core_v1 import Pod, PodStatus
from node.kubelet.pod import planner, steps
from node.kubelet.pod.fold import fold
from node.kubelet.pod.memory import Moment, Observed, PodMemory, ProbeKey, ProbeState
from node.kubelet.pod.outcomes import Begun, ContainerSeen, RoundBegun
from node.kubelet.pod.sidecars import may_stop
from node.kubelet.pod.status import pod_status
from node.runtime.base import ContainerStatus
from tests.fakes.pods import HOST, container, observed, pod, ran

NOW = datetime(2030, 1, 1, 0, 1, tzinfo=UTC)
SECONDS = 1000.0
STARTUP = {"startupProbe": {"exec": {"command": ["yes"]}, "failureThreshold": 1}}
HOOKED = {"lifecycle": {"preStop": {"exec": {"command": ["bye"]}}}}


def side(name: str, **fields: Any) -> dict[str, Any]:
    """A sidecar."""
    return container(name, restartPolicy="Always", **fields)


def over(name: str = "app", attempt: int = 0, code: int = 0, **fields: Any) -> ContainerStatus:
    """An attempt that has ended ten minutes before, so that no back-off is left of it."""
    stamp = "2029-12-31T23:51:00Z"
    started = {"started_at": stamp, "finished_at": stamp}
    return ran(name, attempt, state="exited", exit_code=code, **started, **fields)


def memory(**fields: Any) -> PodMemory:
    """A pod whose volumes are made."""
    began = Moment(NOW, SECONDS)
    return PodMemory(
        started_at=began, volumes_version="1", volumes_made=True, address="10.42.1.2", **fields
    )


def seen(one: Pod, found: Observed, known: PodMemory, later: float = 0) -> Moment:
    """Take in what is there, as a round of the worker does."""
    now = Moment(NOW, SECONDS + later)
    for status in found.all():
        fold(ContainerSeen(status.id, status), one, found, known, now)
    fold(RoundBegun(), one, found, known, now)
    return now


def plan(
    one: Pod, found: Observed, known: PodMemory | None = None, *, later: float = 0
) -> list[str]:
    """The steps, each with its container."""
    known = known or memory()
    now = seen(one, found, known, later)
    planned = list(planner.plan(one, found, known, now.monotonic, volumes_version="1"))
    texts = []
    for step in planned:
        fold(Begun(step), one, found, known, now)
        made = getattr(step, "container", None) or getattr(step, "status", None)
        what = step.signal if isinstance(step, steps.SignalContainer) else type(step).__name__
        texts.append(f"{what} {made.name}" if made else f"{what} {step.reason}")
    return texts


def status(one: Pod, found: Observed, known: PodMemory | None = None) -> PodStatus:
    """The status now."""
    known = known or memory()
    seen(one, found, known)
    return pod_status(one, found, known, NOW, host_address=HOST.address)


def truth(of: PodStatus) -> dict[str, str]:
    """Condition -> status."""
    return {condition.type: condition.status for condition in of.conditions}


def started(name: str) -> PodMemory:
    """The startup probe of a container has succeeded."""
    return memory(probes={ProbeKey(f"{name}-0", "startup"): ProbeState("success")})


def test_what_follows_a_sidecar_begins_once_that_has_started() -> None:
    one = pod(initContainers=[side("proxy", **STARTUP), container("setup")])
    assert plan(one, observed()) == ["InspectImage proxy"]
    assert plan(one, observed(ran("proxy"))) == []
    assert plan(one, observed(ran("proxy")), started("proxy")) == ["InspectImage setup"]
    found = observed(ran("proxy"), over("setup"))
    assert plan(one, found, started("proxy")) == ["InspectImage app"]


def test_a_sidecar_with_a_hook_has_started_when_that_is_done() -> None:
    hook = {"postStart": {"exec": {"command": ["hello"]}}}
    one = pod(initContainers=[side("proxy", lifecycle=hook)])
    assert plan(one, observed(ran("proxy"))) == ["RunHook proxy"]
    known = memory(hooks={("proxy-0", "postStart"): "running"})
    assert plan(one, observed(ran("proxy")), known) == []
    known.hooks[("proxy-0", "postStart")] = "done"
    assert plan(one, observed(ran("proxy")), known) == ["InspectImage app"]


def test_a_sidecar_that_ends_during_init_is_restarted_beside_it() -> None:
    one = pod(initContainers=[side("proxy"), container("a"), container("b")])
    assert plan(one, observed(over("proxy"), ran("a"))) == ["InspectImage proxy"]
    assert plan(one, observed(over("proxy"), over("a"))) == ["InspectImage proxy", "InspectImage b"]


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
@pytest.mark.parametrize("code", [0, 1])
def test_a_sidecar_is_restarted_whatever_the_pods_policy_while_the_app_runs(
    policy: str, code: int
) -> None:
    one = pod(initContainers=[side("proxy")], restartPolicy=policy)
    assert plan(one, observed(over("proxy", code=code), ran())) == ["InspectImage proxy"]
    assert plan(one, observed(ran())) == ["InspectImage proxy"], "somebody has removed it"


def test_a_sidecar_waits_between_attempts_and_the_app_runs_on() -> None:
    one = pod(initContainers=[side("proxy")])
    stamp = {"started_at": "2030-01-01T00:01:00Z", "finished_at": "2030-01-01T00:01:00Z"}
    crashed = ran("proxy", 1, state="exited", exit_code=1, **stamp)
    assert plan(one, observed(crashed, ran())) == ["Wait back-off"]
    made = status(one, observed(crashed, ran()))
    [reported] = made.initContainerStatuses
    assert reported.state.waiting is not None
    assert reported.state.waiting.reason == "CrashLoopBackOff"
    assert (made.phase, truth(made)["Initialized"]) == ("Running", "True")
    ready = next(c for c in made.conditions if c.type == "ContainersReady")
    assert ready.message == "containers with unready status: [proxy]"


def test_in_a_new_sandbox_the_sidecar_comes_first_again() -> None:
    one = pod(initContainers=[side("proxy"), container("setup")])
    found = observed(over("proxy"), over("setup"), over())
    known = memory(of_former_sandbox={status.id for status in found.all()})
    assert plan(one, found, known) == ["InspectImage proxy"]
    found.put(ran("proxy", 1))
    assert plan(one, found, known) == ["InspectImage setup"]


@pytest.mark.parametrize(("kind", "why"), [("liveness", "liveness"), ("startup", "startup")])
def test_a_sidecar_that_fails_a_probe_is_stopped_beside_the_app(kind: str, why: str) -> None:
    one = pod(initContainers=[side("proxy", **STARTUP, livenessProbe={"tcpSocket": {"port": 1}})])
    known = started("proxy")
    known.probes[ProbeKey("proxy-0", kind)] = ProbeState("failure")  # type: ignore[arg-type]
    found = observed(ran("proxy"), ran())
    seen(one, found, known)
    [step] = planner.plan(one, found, known, SECONDS, volumes_version="1")
    assert isinstance(step, steps.SignalContainer)
    assert (step.signal, step.message) == ("TERM", f"Init container proxy failed {why} probe")


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (1, "Failed")])
def test_sidecars_stop_in_reverse_order_once_the_app_has_ended(code: int, phase: str) -> None:
    one = pod(initContainers=[side("a"), side("b")], restartPolicy="Never")
    found, known = observed(ran("a"), ran("b"), over(code=code)), memory()
    assert plan(one, found, known) == ["Wait sidecars stop after the others", "TERM b"]
    assert status(one, found, known).phase == "Pending", "not reported as Running before"
    found.put(over("b", code=143))
    assert plan(one, found, known) == ["TERM a"]
    found.put(over("a", code=137))
    assert plan(one, found, known) == []
    made = status(one, found, known)
    assert made.phase == phase
    ends = [reported.state.terminated for reported in made.initContainerStatuses]
    assert [end and end.exitCode for end in ends] == [137, 143]


def test_a_sidecar_that_has_ended_with_the_app_is_not_restarted() -> None:
    one = pod(initContainers=[side("proxy")], restartPolicy="OnFailure")
    assert plan(one, observed(over("proxy", code=1), over())) == []
    assert plan(one, observed(over("proxy"), over(code=1))) == [
        "InspectImage proxy",
        "InspectImage app",
    ]


def test_an_init_container_that_fails_for_good_stops_the_sidecars() -> None:
    one = pod(initContainers=[side("proxy"), container("setup")], restartPolicy="Never")
    found = observed(ran("proxy"), over("setup", code=1))
    assert plan(one, found) == ["TERM proxy"]
    assert status(one, found).phase == "Pending"
    assert status(one, observed(over("proxy"), over("setup", code=1))).phase == "Failed"


def test_hooks_of_sidecars_begin_with_the_end_and_the_signal_comes_in_turn() -> None:
    deletion = {"deletionTimestamp": "2030-01-01T00:01:30Z", "deletionGracePeriodSeconds": 30}
    one = pod(initContainers=[side("proxy", **HOOKED)], metadata=deletion)
    found, known = observed(ran("proxy"), ran()), memory()
    assert plan(one, found, known) == ["RunHook proxy", "TERM app"]
    known.hooks[("proxy-0", "preStop")] = "done"
    known.signalled["app-0"] = "TERM"
    assert plan(one, found, known, later=29)[0] == "Wait sidecars stop after the others"
    assert plan(one, found, known, later=30) == ["TERM proxy", "KILL app"], "grace is over"
    found.put(over())
    assert plan(one, found, known, later=1) == ["TERM proxy"]


def test_the_grace_period_of_sidecars_begins_with_the_end_of_the_app() -> None:
    one = pod(
        initContainers=[side("proxy")], restartPolicy="Never", terminationGracePeriodSeconds=20
    )
    found, known = observed(ran("proxy"), over()), memory()
    assert plan(one, found, known) == ["TERM proxy"]
    known.signalled["proxy-0"] = "TERM"
    assert plan(one, found, known, later=19) == ["Wait the container is stopping"]
    assert plan(one, found, known, later=20) == ["KILL proxy"]


def test_a_grace_period_that_is_over_is_not_for_a_later_end() -> None:
    one = pod(initContainers=[side("proxy")], restartPolicy="Never")
    found, known = observed(ran("proxy"), over()), memory()
    seen(one, found, known)
    assert known.kill_at == SECONDS + 30
    found.drop("app-0")
    assert plan(one, found, known) == ["InspectImage app"], "somebody has removed it"
    assert known.kill_at is None


def test_who_may_stop() -> None:
    one = pod(initContainers=[side("a"), container("setup"), side("b")])
    assert may_stop(one, "app", {"a", "b", "app"})
    assert may_stop(one, "setup", {"a", "setup"})
    assert not may_stop(one, "b", {"a", "b", "app"})
    assert may_stop(one, "b", {"a", "b", "setup"})
    assert not may_stop(one, "a", {"a", "b"})


def test_a_pod_is_initialised_once_its_sidecars_have_started() -> None:
    one = pod(initContainers=[side("proxy", **STARTUP)])
    made = status(one, observed(ran("proxy")))
    assert (made.phase, truth(made)["Initialized"]) == ("Pending", "False")
    [reported] = made.initContainerStatuses
    assert (reported.started, reported.ready) == (False, False)
    made = status(one, observed(ran("proxy")), started("proxy"))
    assert truth(made)["Initialized"] == "True"
    [reported] = made.initContainerStatuses
    assert (reported.started, reported.ready) == (True, True)
    made = status(one, observed(ran("proxy"), ran()), started("proxy"))
    assert (made.phase, truth(made)["Ready"]) == ("Running", "True")


def test_an_unready_sidecar_makes_the_pod_unready() -> None:
    one = pod(initContainers=[side("proxy", readinessProbe={"tcpSocket": {"port": 1}})])
    made = status(one, observed(ran("proxy"), ran()))
    assert (made.phase, truth(made)["Ready"]) == ("Running", "False")
    [reported] = made.initContainerStatuses
    assert (reported.started, reported.ready) == (True, False)


def test_what_was_reported_of_a_sidecars_probe_is_taken_over_by_the_next_kubelet() -> None:
    one = pod(initContainers=[side("proxy", **STARTUP)])
    one.status = status(one, observed(ran("proxy")), started("proxy"))
    known = memory()
    seen(one, observed(ran("proxy")), known)
    assert known.probes == {ProbeKey("proxy-0", "startup"): ProbeState("success")}


def test_a_container_may_have_a_restart_policy_of_its_own() -> None:
    one = pod(containers=[container("a", restartPolicy="Never"), container("b")])
    assert plan(one, observed(over("a", code=1), over("b"))) == ["InspectImage b"]
    once = pod(containers=[container(restartPolicy="Never")])
    assert status(once, observed(over())).phase == "Succeeded"
    assert status(once, observed(over(code=1))).phase == "Failed"
    again = pod(containers=[container(restartPolicy="Always")], restartPolicy="Never")
    assert plan(again, observed(over())) == ["InspectImage app"]
    init = pod(initContainers=[container("setup", restartPolicy="Never")])
    assert status(init, observed(over("setup", code=1))).phase == "Failed"
    retried = pod(
        initContainers=[container("setup", restartPolicy="OnFailure")], restartPolicy="Never"
    )
    assert plan(retried, observed(over("setup", code=1))) == ["InspectImage setup"]
