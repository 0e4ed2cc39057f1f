"""Probes and hooks on a fake machine: what they change, when, and what they leave alone."""

from typing import Any

import pytest

from common.api import conditions
from common.api.codec import json as codec
from common.api.types.core_v1 import ContainerStatus as ApiStatus
from common.api.types.core_v1 import Pod
from node.runtime.fake import Program
from tests.fakes.kubelet import FakeNode
from tests.fakes.pods import UID, container, pod

POLITE = ["polite"]
PORT = 8080
HTTP = {"httpGet": {"port": PORT, "path": "/ok"}}
TIMES = {"timeoutSeconds": 1, "periodSeconds": 5, "successThreshold": 1, "failureThreshold": 3}


@pytest.fixture(autouse=True)
def programs(node: FakeNode) -> None:
    """What the commands of the tests' containers do."""
    node.runtime.programs |= {("polite",): Program(term_exit_code=0)}
    node.runtime.execs |= {("yes",): 0, ("no",): 1, ("hangs",): None}


def probed(policy: str = "Always", **fields: Any) -> Pod:
    """A pod whose container has probes or hooks."""
    return pod(
        restartPolicy=policy,
        containers=[
            container(command=POLITE, ports=[{"containerPort": PORT, "name": "web"}], **fields)
        ],
    )


def app(node: FakeNode) -> ApiStatus:
    """The container's status as it was reported last."""
    return node.master.last(UID).containerStatuses[0]


def said(node: FakeNode, reason: str) -> list[str]:
    """The messages of events with a reason."""
    return [message for known, message in node.events if known == reason]


def deleting(one: Pod, seconds: int) -> Pod:
    """The pod, with a grace period of so many seconds from the clock's beginning."""
    found = codec.decode(codec.encode(one), Pod)
    found.metadata.deletionGracePeriodSeconds = seconds
    minutes, rest = divmod(seconds, 60)
    found.metadata.deletionTimestamp = f"2030-01-01T00:{minutes:02}:{rest:02}Z"  # type: ignore[assignment]
    return found


async def test_readiness_follows_the_probe_by_its_thresholds(node: FakeNode) -> None:
    node.checks.answers[PORT] = 503
    await node.assign(probed(readinessProbe={**HTTP, **TIMES}))
    assert (app(node).started, app(node).ready) == (True, False)
    assert not conditions.is_true(node.master.last(UID).conditions, "Ready")
    assert said(node, "Unhealthy") == [
        "Readiness probe failed: HTTP probe failed with statuscode: 503"
    ]
    node.checks.answers[PORT] = 200
    await node.wait(5)
    assert app(node).ready
    assert conditions.is_true(node.master.last(UID).conditions, "Ready")
    node.checks.answers[PORT] = "refused"
    await node.wait(10)
    assert app(node).ready, "two failures of three"
    await node.wait(5)
    assert not app(node).ready
    assert app(node).restartCount == 0
    assert node.checks.asked[0] == f"http://10.42.1.2:{PORT}/ok"


async def test_liveness_restarts_the_container(node: FakeNode) -> None:
    await node.assign(probed(livenessProbe={**HTTP, **TIMES}))
    await node.wait(30)
    assert app(node).restartCount == 0
    node.checks.answers[PORT] = 500
    await node.wait(14)
    node.checks.answers[PORT] = 200
    assert said(node, "Killing") == []
    node.checks.answers[PORT] = 500
    await node.wait(20)
    assert app(node).restartCount == 1
    assert said(node, "Killing")[0] == "Container app failed liveness probe, will be restarted"


@pytest.mark.parametrize(("policy", "restarts"), [("Always", 1), ("OnFailure", 1), ("Never", 0)])
async def test_what_follows_a_failed_liveness_probe_is_up_to_the_restart_policy(
    node: FakeNode, policy: str, restarts: int
) -> None:
    node.checks.answers[PORT] = 500
    probe = {**HTTP, **TIMES, "failureThreshold": 1, "initialDelaySeconds": 5}
    await node.assign(probed(policy, livenessProbe=probe))
    await node.wait(6)
    assert app(node).restartCount == restarts
    expected = "Container app failed liveness probe"
    assert said(node, "Killing") == [expected + (", will be restarted" if restarts else "")]


async def test_a_probe_may_say_how_long_the_end_takes(node: FakeNode) -> None:
    node.checks.answers[PORT] = 500
    probe = {**HTTP, **TIMES, "failureThreshold": 1, "terminationGracePeriodSeconds": 4}
    one = probed(livenessProbe=probe)
    one.spec.containers[0].command = ("stubborn",)
    await node.assign(one)
    node.checks.answers[PORT] = 200
    await node.wait(3)
    assert app(node).restartCount == 0
    await node.wait(2)
    assert app(node).restartCount == 1


async def test_startup_gates_the_others(node: FakeNode) -> None:
    node.checks.answers[PORT] = 500
    slow = {"tcpSocket": {"port": 9}, **TIMES, "failureThreshold": 10}
    node.checks.answers[9] = "refused"
    probes = {"livenessProbe": {**HTTP, **TIMES}, "readinessProbe": {**HTTP, **TIMES}}
    await node.assign(probed(startupProbe=slow, **probes))
    await node.wait(30)
    assert (app(node).started, app(node).ready) == (False, False)
    assert node.checks.of_port(PORT) == []
    node.checks.answers |= {9: 200, PORT: 200}
    await node.wait(5)
    assert (app(node).started, app(node).ready) == (True, True)
    asked = len(node.checks.of_port(9))
    await node.wait(30)
    assert len(node.checks.of_port(9)) == asked, "a startup probe ends with its success"


async def test_a_failed_startup_restarts(node: FakeNode) -> None:
    node.checks.answers[PORT] = 500
    await node.assign(probed(startupProbe={**HTTP, **TIMES, "failureThreshold": 2}))
    await node.wait(6)
    assert app(node).restartCount == 1
    assert said(node, "Killing")[0] == "Container app failed startup probe, will be restarted"


async def test_an_initial_delay_and_a_named_port(node: FakeNode) -> None:
    probe = {"tcpSocket": {"port": "web"}, **TIMES, "initialDelaySeconds": 20}
    await node.assign(probed(readinessProbe=probe))
    await node.wait(19)
    assert node.checks.asked == []
    await node.wait(2)
    assert node.checks.asked == [f"tcp://10.42.1.2:{PORT}"]
    assert app(node).ready


async def test_a_clock_that_was_set_back_keeps_no_probe_waiting_for_a_day(node: FakeNode) -> None:
    probe = {"tcpSocket": {"port": "web"}, **TIMES, "initialDelaySeconds": 20}
    await node.assign(probed(readinessProbe=probe))
    await node.wait(30)
    asked = len(node.checks.asked)
    node.clock.set_back(86400)
    await node.restart()
    await node.wait(30)
    assert len(node.checks.asked) > asked
    assert app(node).ready
    assert app(node).restartCount == 0


async def test_pods_and_their_probes_do_not_notice_that_the_clock_is_set(node: FakeNode) -> None:
    one = probed(
        livenessProbe={**HTTP, **TIMES}, readinessProbe={"tcpSocket": {"port": 9}, **TIMES}
    )
    node.checks.answers |= {PORT: 200}
    await node.assign(one)
    await node.wait(10)
    before = await node.containers()
    for seconds in (86400, -2 * 86400, 86400):
        node.clock.set_back(seconds)
        asked = len(node.checks.of_port(PORT))
        await node.wait(30)
        assert len(node.checks.of_port(PORT)) - asked in (5, 6, 7)
        assert app(node).ready
    assert await node.containers() == before
    node.clock.set_back(86400)
    await node.assign(deleting(one, 20))
    await node.wait(25)
    assert await node.containers() == {}


@pytest.mark.parametrize(("command", "ready"), [("yes", True), ("no", False), ("hangs", False)])
async def test_exec_probes(node: FakeNode, command: str, ready: bool) -> None:
    await node.assign(probed(readinessProbe={"exec": {"command": [command]}, **TIMES}))
    await node.wait(2)
    assert app(node).ready is ready
    assert bool(said(node, "Unhealthy")) is not ready


async def test_a_command_that_cannot_be_run_counts_neither_way(node: FakeNode) -> None:
    await node.assign(probed(livenessProbe={"exec": {"command": ["absent"]}, **TIMES}))
    await node.wait(60)
    assert app(node).restartCount == 0
    assert said(node, "Unhealthy")[0].startswith(
        "Liveness probe errored and resulted in unknown state: "
    )


async def test_a_probe_that_hangs_holds_up_no_other(node: FakeNode) -> None:
    hanging = {"tcpSocket": {"port": 9}, **TIMES, "timeoutSeconds": 1000, "periodSeconds": 1000}
    node.checks.answers[9] = None
    probes = {"livenessProbe": hanging, "readinessProbe": {**HTTP, **TIMES}}
    await node.assign(probed(**probes))
    await node.wait(20)
    assert app(node).ready
    assert len(node.checks.of_port(PORT)) == 5


async def test_a_redirect_to_elsewhere_is_a_warning(node: FakeNode) -> None:
    node.checks.answers[PORT] = 302
    await node.assign(probed(readinessProbe={**HTTP, **TIMES}))
    assert app(node).ready
    assert said(node, "ProbeWarning") == [
        "Readiness probe warning: Probe terminated redirects, Response body: body"
    ]


async def test_a_restart_of_the_kubelet_keeps_ready_and_started(node: FakeNode) -> None:
    probes = {
        "startupProbe": {**HTTP, **TIMES},
        "readinessProbe": {**HTTP, **TIMES, "periodSeconds": 300},
        "livenessProbe": {**HTTP, **TIMES, "failureThreshold": 1},
        "lifecycle": {"postStart": {"exec": {"command": ["yes"]}}},
    }
    one = probed(**probes)
    await node.assign(one)
    assert app(node).ready
    one.status = node.master.last(UID)
    await node.assign(one)
    before, changes = len(node.master.reports[UID]), node.runtime.changes()
    for _ in range(3):
        await node.restart()
        await node.wait(20)
    assert all(r.containerStatuses[0].ready for r in node.master.reports[UID][before:])
    assert node.runtime.changes() == changes
    hooks = [call for call in node.runtime.calls if call.startswith("exec_sync")]
    assert len(hooks) == 1, "a hook that has been reported as done is not called again"


async def test_readiness_is_probed_to_the_end_and_deletion_alone_takes_nothing(
    node: FakeNode,
) -> None:
    probes = {"readinessProbe": {**HTTP, **TIMES}, "livenessProbe": {**HTTP, **TIMES}}
    one = probed(**probes, lifecycle={"preStop": {"sleep": {"seconds": 100}}})
    await node.assign(one)
    await node.assign(deleting(one, 60))
    await node.wait(10)
    assert app(node).ready
    node.checks.answers[PORT] = 500
    await node.wait(16)
    assert not app(node).ready
    assert said(node, "Killing") == ["Stopping container app"]


async def test_pre_stop_comes_before_term(node: FakeNode) -> None:
    one = probed(lifecycle={"preStop": {"sleep": {"seconds": 7}}})
    await node.assign(one)
    await node.assign(deleting(one, 30))
    await node.wait(6)
    assert node.master.gone == []
    assert said(node, "Killing") == ["Stopping container app"]
    await node.wait(2)
    assert node.master.gone == [UID]


async def test_a_pre_stop_hook_that_takes_all_the_grace_leaves_two_seconds(node: FakeNode) -> None:
    one = probed(lifecycle={"preStop": {"exec": {"command": ["hangs"]}}})
    one.spec.containers[0].command = ("stubborn",)
    await node.assign(one)
    await node.assign(deleting(one, 10))
    await node.wait(11)
    assert [call.split()[-1] for call in node.runtime.changes() if "signal" in call] == ["TERM"]
    await node.wait(2)
    assert node.master.gone == [UID]


async def test_a_failed_pre_stop_hook_is_told_and_the_stop_goes_on(node: FakeNode) -> None:
    one = probed(lifecycle={"preStop": {"httpGet": {"port": PORT}}})
    node.checks.answers[PORT] = "refused"
    await node.assign(one)
    await node.assign(deleting(one, 30))
    await node.wait(1)
    assert node.master.gone == [UID]
    assert said(node, "FailedPreStopHook") == ["PreStopHook failed"]


async def test_before_post_start_has_ended_a_container_does_not_run(node: FakeNode) -> None:
    one = probed(
        lifecycle={"postStart": {"sleep": {"seconds": 10}}}, readinessProbe={**HTTP, **TIMES}
    )
    await node.assign(one)
    await node.wait(9)
    assert app(node).state.waiting is not None
    assert not app(node).ready
    assert node.checks.asked == []
    await node.wait(2)
    assert app(node).state.running is not None
    assert app(node).ready


async def test_a_failed_post_start_hook_kills_the_container(node: FakeNode) -> None:
    await node.assign(probed(lifecycle={"postStart": {"exec": {"command": ["no"]}}}))
    await node.wait(1)
    assert app(node).restartCount >= 1
    assert said(node, "FailedPostStartHook")[0] == "PostStartHook failed"
    assert said(node, "Killing")[0] == "FailedPostStartHook"


async def test_a_pod_deleted_in_its_post_start_hook_goes(node: FakeNode) -> None:
    one = probed(lifecycle={"postStart": {"exec": {"command": ["hangs"]}}})
    await node.assign(one)
    await node.assign(deleting(one, 30))
    await node.wait(1)
    assert node.master.gone == [UID]


async def test_the_runtime_away_in_a_hook_kills_nothing(node: FakeNode) -> None:
    one = probed(lifecycle={"postStart": {"exec": {"command": ["yes"]}}})
    node.runtime.available = False
    await node.assign(one)
    node.runtime.available = True
    await node.wait(15)
    assert app(node).ready
    assert said(node, "FailedPostStartHook") == []


async def test_readiness_gates_of_others_are_waited_for(node: FakeNode) -> None:
    one = probed(readinessProbe={**HTTP, **TIMES})
    one = codec.decode(codec.encode(one), Pod)
    gated = codec.decode(
        codec.encode(one).replace(
            b'"dnsPolicy"', b'"readinessGates":[{"conditionType":"a/b"}],"dnsPolicy"'
        ),
        Pod,
    )
    await node.assign(gated)
    ready = conditions.find(node.master.last(UID).conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "ReadinessGatesNotReady")
    met = codec.encode(gated).replace(
        b'"status":{', b'"status":{"conditions":[{"type":"a/b","status":"True"}],'
    )
    await node.assign(codec.decode(met, Pod))
    assert conditions.is_true(node.master.last(UID).conditions, "Ready")
