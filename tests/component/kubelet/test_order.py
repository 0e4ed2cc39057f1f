"""The order in which containers begin, what their status says between attempts, what is lost."""

from __future__ import annotations

from typing import Any

import pytest

from common.api import conditions
from node.runtime.fake import Program
from tests.fakes.kubelet import FakeNode
from tests.fakes.pods import UID, container, pod

SLOW = {"lifecycle": {"postStart": {"sleep": {"seconds": 5}}}}
RUNS, FAILS, ENDS = ("runs",), ("fails",), ("ends",)


@pytest.fixture(autouse=True)
def programs(node: FakeNode) -> None:
    """What the commands of the tests' containers do."""
    node.runtime.programs |= {FAILS: Program(exit_code=3), ENDS: Program(exit_code=0)}


async def begun(node: FakeNode) -> list[str]:
    """The attempts that run."""
    return [name for name, s in (await node.containers()).items() if s.state == "running"]


def states(node: FakeNode) -> list[tuple[str, str]]:
    """(reason of waiting or '', state of the only container) of every report, once each."""
    found = []
    for report in node.master.reports[UID]:
        [one] = report.containerStatuses
        kind = "waiting" if one.state.waiting else "running" if one.state.running else "terminated"
        found.append((kind, one.state.waiting.reason if one.state.waiting else ""))
    return [state for n, state in enumerate(found) if n == 0 or found[n - 1] != state]


async def test_a_container_waits_for_the_post_start_hook_of_the_one_before(node: FakeNode) -> None:
    """k/k#81450: service meshes hold the application up until their proxy is there."""
    await node.assign(
        pod(containers=[container("proxy", **SLOW), container("app"), container("b")])
    )
    await node.wait(4)
    assert await begun(node) == ["proxy/0"]
    await node.wait(2)
    assert await begun(node) == ["proxy/0", "app/0", "b/0"]
    proxy = (await node.containers())["proxy/0"]
    await node.end((await node.containers())["app/0"].id, 1)
    assert "app/1" in await begun(node)
    await node.end(proxy.id, 1)
    await node.wait(1)
    assert (await node.containers())["app/1"].state == "running", "who runs goes on"


@pytest.mark.parametrize(
    "fields",
    [
        {"lifecycle": {"postStart": {"exec": {"command": ["no such"]}}}},
        {"image": "localhost/none:1", "imagePullPolicy": "Never", **SLOW},
        {"command": ["fails"], **SLOW},
        {"command": ["a\0"], **SLOW},
    ],
)
async def test_a_hook_that_will_not_end_holds_up_nobody(
    node: FakeNode, fields: dict[str, Any]
) -> None:
    await node.assign(pod(containers=[container("proxy", **fields), container("app")]))
    await node.wait(3)
    assert "app/0" in await begun(node)


async def test_a_container_is_in_its_crash_loop_until_it_runs_again(node: FakeNode) -> None:
    node.runtime.programs[FAILS] = Program(exit_code=3)
    await node.assign(pod(containers=[container(command=FAILS)]))
    await node.wait(11)
    node.runtime.programs[FAILS] = Program()
    await node.wait(25)
    crashing = ("waiting", "CrashLoopBackOff")
    seen = states(node)
    assert seen[seen.index(crashing) :] == [crashing, ("running", "")]
    [one] = node.master.last(UID).containerStatuses
    assert one.restartCount == 3
    backed_off = [message for reason, message in node.events if reason == "BackOff"]
    assert len(backed_off) == 2, "once for each attempt that ended in its loop"


async def test_the_previous_log_is_there_while_a_container_waits(node: FakeNode) -> None:
    await node.assign(pod(containers=[container(command=FAILS)]))
    await node.wait(5)
    [one] = node.master.last(UID).containerStatuses
    assert one.state.waiting is not None
    assert one.state.waiting.reason == "CrashLoopBackOff"
    previous = node.kubelet.log_of(UID, "app", previous=True)
    assert previous is not None
    assert previous.attempt == 1
    node.runtime.programs[FAILS] = Program()
    await node.wait(10)
    previous = node.kubelet.log_of(UID, "app", previous=True)
    now = node.kubelet.log_of(UID, "app", previous=False)
    assert previous is not None
    assert now is not None
    assert (previous.attempt, now.attempt) == (1, 2)


async def test_an_init_container_that_somebody_removes_stays_done(node: FakeNode) -> None:
    await node.assign(pod(initContainers=[container("setup", command=ENDS)]))
    before = node.master.last(UID)
    ended = (await node.containers())["setup/0"]
    await node.runtime.remove_container(ended.id)
    for _ in range(2):
        await node.wait(30)
        status = node.master.last(UID)
        assert status.initContainerStatuses == before.initContainerStatuses
        assert status.phase == "Running"
        assert conditions.is_true(status.conditions, "Ready")
        one = node.assigned[UID]
        one.status = status
        await node.restart()
    assert set(await node.containers()) == {"app/0"}


async def test_a_container_that_somebody_removes_is_one_more_restart(node: FakeNode) -> None:
    await node.assign(pod(containers=[container(command=FAILS)]))
    await node.wait(11)
    [one] = node.master.last(UID).containerStatuses
    assert one.restartCount == 2
    for status in (await node.containers()).values():
        await node.runtime.remove_container(status.id)
    node.runtime.programs[FAILS] = Program()
    await node.wait(30)
    [one] = node.master.last(UID).containerStatuses
    assert (one.restartCount, one.ready) == (3, True)
