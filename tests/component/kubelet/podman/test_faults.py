"""Podman's socket refuses, is slow, or is gone (catalogue row C5): the pod runs through all of it,
the node's condition tells, and the kubelet goes on by itself when the socket is well again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from common.api.codec import json as codec
from common.api.types.core_v1 import NodeCondition, NodeStatus
from node.kubelet import kubelet as kubelet_module
from node.runtime.podman import PodmanRuntime
from tests.component.kubelet.podman.test_podman import RealNode, ready, restarted, shell
from tests.fakes.hostile.faulty_socket import FaultySocket, Mode
from tests.fakes.kubelet import end
from tests.fakes.pods import UID
from tests.servers.podman import Podman, podman

__all__ = ["podman"]

pytestmark = pytest.mark.podman
PERIOD_SECONDS = 0.2
WAIT_SECONDS = 60.0


@pytest.fixture
async def socket(podman: Podman) -> AsyncIterator[FaultySocket]:
    """What the kubelet takes for Podman's socket."""
    made = FaultySocket(str(podman.directory / "faulty.sock"), podman.socket_path)
    await made.set("pass")
    yield made
    await made.close()


@pytest.fixture
async def node(
    tmp_path: Path, podman: Podman, socket: FaultySocket, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RealNode]:
    """A kubelet that looks and reports often, on that socket."""
    for name in ("RELIST", "RELIST_RETRY", "NODE_STATUS", "RUNTIME_SILENCE"):
        monkeypatch.setattr(kubelet_module, f"{name}_SECONDS", PERIOD_SECONDS)
    made = RealNode(tmp_path, podman)
    made.runtime = PodmanRuntime(socket.path, made.offload)  # type: ignore[assignment]
    await made.start()
    yield made
    await socket.set("pass")
    await made.stop()
    for sandbox in await made.sandbox.list():
        await made.sandbox.remove(sandbox.pod_uid)
    await end(made)


async def until(wanted: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fails with its name."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not wanted():
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"never: {what}")


def node_ready(node: RealNode) -> NodeCondition | None:
    """The node's newest Ready condition."""
    if not node.master.nodes:
        return None
    conditions = codec.decode(node.master.nodes[-1], NodeStatus).conditions
    return next(one for one in conditions if one.type == "Ready")


def says(node: RealNode, status: str) -> Callable[[], bool]:
    """Whether the node says so of itself."""
    return lambda: (found := node_ready(node)) is not None and found.status == status


@pytest.mark.parametrize("mode", ["refuse", "gone"])
async def test_a_broken_socket_is_told_and_changes_no_container(
    node: RealNode, socket: FaultySocket, mode: Mode
) -> None:
    await node.assign(shell("sleep 1000"))
    await node.until(ready)
    before = await node.only()
    await socket.set(mode)
    await until(says(node, "False"), "the node says that its runtime is down")
    condition = node_ready(node)
    assert condition is not None
    assert condition.reason == "KubeletNotReady"
    assert condition.message.startswith("container runtime is down: ")
    await socket.set("pass")
    await until(says(node, "True"), "the node is ready again")
    after = await node.only()
    assert (after.id, after.pid, after.started_at) == (before.id, before.pid, before.started_at)
    assert ready(node.master.last(UID))
    assert not any(restarted(report) for report in node.master.reports[UID])


@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=pytest.mark.full)])
async def test_a_slow_socket_delays_and_changes_no_container(
    node: RealNode, socket: FaultySocket, seconds: int
) -> None:
    await node.assign(shell("sleep 1000"))
    await node.until(ready)
    before = await node.only()
    await socket.set("slow", seconds)
    await until(lambda: socket.calls >= 2, "the kubelet has asked the slow socket")
    await socket.set("pass")
    await until(says(node, "True"), "the node is ready, still or again")
    after = await node.only()
    assert (after.id, after.pid, after.started_at) == (before.id, before.pid, before.started_at)
    assert not any(restarted(report) for report in node.master.reports[UID])


async def test_a_pod_assigned_while_the_socket_refuses_starts_when_it_is_well(
    node: RealNode, socket: FaultySocket
) -> None:
    await socket.set("refuse")
    await node.assign(shell("sleep 1000"))
    await until(lambda: socket.calls >= 2, "the kubelet has asked")
    assert not any(ready(report) for report in node.master.reports.get(UID, []))
    await socket.set("pass")
    reports = node.master.reports
    await until(lambda: UID in reports and ready(reports[UID][-1]), "the pod runs")
    assert reports[UID][-1].containerStatuses[0].restartCount == 0
