"""What probes come to: one rule a test, and properties that hold for every sequence of answers."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api.types.core_v1 import Container, Pod, Probe
from node.kubelet.pod import probing
from node.kubelet.pod.memory import Moment, PodMemory, ProbeKey, ProbeKind, ProbeState, Stop
from node.kubelet.spec import handlers
from tests.fakes.pods import container, observed, pod, ran

NOW = datetime(2030, 1, 1, 0, 1, tzinfo=UTC)
PROBE = {"tcpSocket": {"port": 80}}
ALL = {"startupProbe": PROBE, "livenessProbe": PROBE, "readinessProbe": PROBE}
THRESHOLDS = st.integers(1, 5)


def memory(**results: Any) -> PodMemory:
    """What the probes of container app-0 have come to."""
    probes = {ProbeKey("app-0", kind): ProbeState(result) for kind, result in results.items()}  # type: ignore[arg-type]
    return PodMemory(started_at=Moment(NOW, 0.0), probes=probes)


def probed(**fields: Any) -> Pod:
    """A pod with probes."""
    return pod(containers=[container(**(fields or ALL))])


def kinds(one: Pod, known: PodMemory, *, ending: bool = False) -> list[str]:
    """The probes that run."""
    found = probing.targets(one, observed(ran()), known, ending=ending)
    return [target.key.kind for target in found]


def through(probe: Probe, answers: list[bool], first: ProbeState) -> list[str]:
    """The result after each answer."""
    state, results = first, []
    for success in answers:
        state = probing.take(state, probe, success=success)
        results.append(state.result)
    return results


def test_a_result_changes_after_a_whole_run_of_equal_answers() -> None:
    probe = Probe(successThreshold=2, failureThreshold=3)
    answers = [True, False, True, True, False, False, True, False, False, False]
    assert "".join(r[0] for r in through(probe, answers, ProbeState("failure"))) == "fffssssssf"


@given(answers=st.lists(st.booleans(), max_size=40), success=THRESHOLDS, failure=THRESHOLDS)
def test_a_change_is_always_earned(answers: list[bool], success: int, failure: int) -> None:
    probe = Probe(successThreshold=success, failureThreshold=failure)
    results = ["unknown", *through(probe, answers, ProbeState("unknown"))]
    for at, (before, after) in enumerate(pairwise(results), start=1):
        need = success if after == "success" else failure
        if after != before:
            assert answers[at - need : at] == [after == "success"] * need
        run = answers[max(0, at - 5) : at]
        if len(run) == 5 and len(set(run)) == 1:
            assert after == ("success" if run[0] else "failure"), "a long run always decides"


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({"startup": "unknown"}, ["startup"]),
        ({"startup": "failure"}, []),
        ({"startup": "success", "liveness": "success"}, ["liveness", "readiness"]),
        ({"startup": "success", "liveness": "failure"}, ["readiness"]),
    ],
)
def test_which_probes_run(results: dict[str, str], expected: list[str]) -> None:
    assert kinds(probed(), memory(**results)) == expected


def test_a_pod_that_is_ending_has_only_its_readiness_probed() -> None:
    known = memory(startup="success", liveness="success")
    assert kinds(probed(), known, ending=True) == ["readiness"]
    assert kinds(probed(), memory(startup="unknown"), ending=True) == []
    known.stops["app-0"] = Stop(since=0.0)
    assert kinds(probed(), known) == ["readiness"]
    known.failed = ("DeadlineExceeded", "")
    assert kinds(probed(), known) == []


def test_nothing_that_does_not_run_is_probed() -> None:
    gone = observed(ran(state="exited"))
    assert probing.targets(probed(), gone, memory(startup="success"), ending=False) == []


def test_before_the_post_start_hook_is_over_nothing_is_probed() -> None:
    hooked = probed(**ALL, lifecycle={"postStart": {"sleep": {"seconds": 5}}})
    known = memory(startup="unknown")
    assert kinds(hooked, known) == []
    known.hooks[("app-0", "postStart")] = "done"
    assert kinds(hooked, known) == ["startup"]


@pytest.mark.parametrize(
    ("kind", "reported", "expected"),
    [
        ("readiness", {"ready": True, "started": True}, "success"),
        ("readiness", {"ready": False, "started": True}, "failure"),
        ("startup", {"ready": False, "started": True}, "success"),
        ("startup", {"ready": False, "started": False}, "unknown"),
        ("liveness", {"ready": False, "started": False}, "success"),
    ],
)
def test_the_last_report_is_where_a_new_kubelet_begins(
    kind: ProbeKind, reported: dict[str, bool], expected: str
) -> None:
    status = {"name": "app", "containerID": "podman://app-0", **reported}
    one = pod(status={"containerStatuses": [status]})
    assert probing.adopted(kind, one.status, "app-0").result == expected
    assert probing.adopted(kind, one.status, "app-1").result == probing.FIRST[kind]


def test_what_is_remembered_stays_and_what_is_gone_is_forgotten() -> None:
    known = memory(readiness="success")
    known.probes[ProbeKey("app-9", "readiness")] = ProbeState("success")
    probing.adopt(probed(readinessProbe=PROBE), observed(ran()), known)
    assert known.probes == {ProbeKey("app-0", "readiness"): ProbeState("success")}


@pytest.mark.parametrize(
    ("port", "expected"), [(80, 80), ("80", 80), ("web", 8080), ("no", None), (0, None)]
)
def test_ports_by_number_and_name(port: int | str, expected: int | None) -> None:
    plain = container(ports=[{"containerPort": 8080, "name": "web"}])
    one = msgspec.convert(plain, Container)
    if expected is not None:
        assert handlers.port_of(port, one) == expected
        return
    with pytest.raises(handlers.UnknownPort, match="invalid port number"):
        handlers.port_of(port, one)
