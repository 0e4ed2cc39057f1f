"""The kubelet on a real Podman: ends are noticed at once, restarts change nothing, logs are there.

Pods use the machine's network here; what sandboxes do is in tests/contract/sandbox.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from common.api.types.core_v1 import Pod, PodStatus
from common.runtime.clock import SystemClock
from common.runtime.offload import Offload
from node.files.removal import remove_tree
from node.kubelet.effects.processes import PidfdProcesses
from node.network.sandbox import NamespaceSandbox
from node.probes.network import NetworkChecks
from node.runtime.base import ContainerStatus
from node.runtime.podman import PodmanRuntime
from tests.fakes.kubelet import NODE_FILES, FakeNode, end
from tests.fakes.pods import UID, container, pod
from tests.servers.podman import TEST_IMAGE, Podman, podman

__all__ = ["podman"]

pytestmark = pytest.mark.podman
WAIT_SECONDS = 30.0


class RealNode(FakeNode):
    """A node whose runtime, sandboxes, processes and clock are real."""

    def __init__(self, directory: Path, service: Podman) -> None:
        super().__init__(directory)
        self.offload.close()
        self.offload = Offload()  # type: ignore[assignment]
        self.clock = SystemClock()  # type: ignore[assignment]
        self.runtime = PodmanRuntime(service.socket_path, self.offload)  # type: ignore[assignment]
        self.sandbox = NamespaceSandbox(directory / "sandboxes", self.offload)  # type: ignore[assignment]
        self.processes = PidfdProcesses()  # type: ignore[assignment]
        self.checks = NetworkChecks()  # type: ignore[assignment]

    async def until(self, wanted: Callable[[PodStatus], bool]) -> PodStatus:
        """The pod's status, once it is as wanted."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while UID not in self.master.reports or not wanted(self.master.last(UID)):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"{self.master.reports.get(UID, ['nothing'])[-1]} {self.events}")
        return self.master.last(UID)

    async def only(self) -> ContainerStatus:
        """The one container that runs."""
        [status] = [s for s in await self.runtime.list_containers() if s.state == "running"]
        return status


@pytest.fixture
async def node(tmp_path: Path, podman: Podman) -> AsyncIterator[RealNode]:
    """A kubelet on a fresh Podman; nothing of its pods is left afterwards."""
    made = RealNode(tmp_path, podman)
    await made.start()
    yield made
    await made.stop()
    for sandbox in await made.sandbox.list():
        await made.sandbox.remove(sandbox.pod_uid)
    remove_tree(tmp_path)
    await end(made)


def log_of(directory: Path) -> Path:
    """The first log of the pod's container."""
    return directory / "logs" / f"default_web_{UID}" / "app" / "0.log"


def shell(script: str, **fields: object) -> Pod:
    """A pod that runs a script."""
    return pod(
        hostNetwork=True,
        containers=[container(image=TEST_IMAGE, command=["/bin/sh", "-c", script])],
        **fields,
    )


def ready(status: PodStatus) -> bool:
    """Whether the pod runs."""
    return bool(status.containerStatuses and status.containerStatuses[0].ready)


def restarted(status: PodStatus, count: int = 1) -> bool:
    """Whether the pod runs in a later attempt."""
    return ready(status) and status.containerStatuses[0].restartCount == count


async def test_a_pod_on_the_machines_network_knows_the_machines_names(
    node: RealNode, tmp_path: Path
) -> None:
    await node.assign(shell("cat /etc/hosts", restartPolicy="Never"))
    await node.until(lambda status: status.phase == "Succeeded")
    lines = [line.split(" ", 3)[3] for line in log_of(tmp_path).read_text().splitlines()]
    assert lines[1:] == NODE_FILES.hosts.splitlines()


async def test_a_pod_runs_writes_its_log_and_goes(node: RealNode, tmp_path: Path) -> None:
    await node.assign(shell("trap 'exit 0' TERM; echo hello; while :; do sleep 0.1; done"))
    await node.until(ready)
    async with asyncio.timeout(WAIT_SECONDS):  # it runs; its first line may take a moment longer
        while not log_of(tmp_path).read_text().endswith("stdout F hello\n"):
            await asyncio.sleep(0.01)
    deleted = {"deletionTimestamp": "2099-01-01T00:00:00Z"}
    await node.assign(shell("", metadata=deleted))
    async with asyncio.timeout(WAIT_SECONDS):
        while not node.master.gone:
            await asyncio.sleep(0.01)
    assert await node.runtime.list_containers() == []
    assert await node.sandbox.list() == []
    assert not log_of(tmp_path).exists()


async def test_an_end_is_noticed_by_its_process_and_not_by_the_next_relist(node: RealNode) -> None:
    await node.assign(shell("sleep 1000"))
    await node.until(ready)
    status = await node.only()
    os.kill(status.pid, signal.SIGKILL)
    async with asyncio.timeout(5):  # a relist would take up to ten seconds
        await node.until(restarted)
    [one] = node.master.last(UID).containerStatuses
    assert one.lastState.terminated is not None
    assert one.lastState.terminated.exitCode == 137


async def test_a_pod_that_runs_once_ends_with_its_message(node: RealNode) -> None:
    script = "echo -n because > /dev/termination-log; exit 7"
    await node.assign(shell(script, restartPolicy="Never"))
    status = await node.until(lambda status: status.phase == "Failed")
    ended = status.containerStatuses[0].state.terminated
    assert ended is not None
    assert (ended.exitCode, ended.reason, ended.message) == (7, "Error", "because")


async def test_a_restart_of_kubelet_and_podman_changes_no_container(
    node: RealNode, podman: Podman
) -> None:
    await node.assign(shell("sleep 1000"))
    await node.until(ready)
    before = await node.only()
    await node.stop()
    await podman.kill()
    await podman.start()
    await node.start()
    node.master.reports.clear()
    node.kubelet.synced({UID})
    status = await node.until(ready)
    assert status.containerStatuses[0].restartCount == 0
    after = await node.only()
    assert (after.id, after.pid, after.started_at) == (before.id, before.pid, before.started_at)


async def test_a_container_whose_monitor_died_with_it_is_restarted(node: RealNode) -> None:
    await node.assign(shell("sleep 1000", terminationGracePeriodSeconds=0))
    await node.until(ready)
    lost = await node.only()
    monitor = parent(lost.pid)
    assert "conmon" in Path(f"/proc/{monitor}/comm").read_text()
    os.kill(monitor, signal.SIGKILL)
    os.kill(lost.pid, signal.SIGKILL)
    status = await node.until(restarted)
    ended = status.containerStatuses[0].lastState.terminated
    assert ended is not None
    assert ended.exitCode == 137
    assert Path(f"/proc/{(await running(node)).pid}").exists()
    await node.remove(UID)
    await nothing_left(node)


async def test_a_container_whose_monitor_dies_alone_is_replaced_once(node: RealNode) -> None:
    """Row C6: noticed at once by the monitor's end, and by it alone."""
    await node.assign(shell("sleep 1000", terminationGracePeriodSeconds=0))
    await node.until(ready)
    lost = await node.only()
    os.kill(parent(lost.pid), signal.SIGKILL)
    async with asyncio.timeout(10):
        await node.until(restarted)
    assert has_ended(lost.pid)
    now = await running(node)
    assert now.attempt == 1
    await node.kubelet.relist()
    assert (await running(node)).id == now.id
    assert node.master.last(UID).containerStatuses[0].restartCount == 1
    await node.remove(UID)
    await nothing_left(node)


async def test_arguments_and_variables_are_data(node: RealNode, tmp_path: Path) -> None:
    """Row F16: nothing of them is read by a shell, an option parser or a log."""
    evil = ["--privileged", "a\nb", "$(A)", "$$(A)", "; touch /tmp/evil", "\x1b[31m", "'\""]
    script = 'for one in "$@"; do printf "[%s]" "$one"; done; printf "{%s}" "$EVIL"'
    spec = container(
        image=TEST_IMAGE,
        command=["/bin/sh", "-c", script, "sh"],
        args=[*evil, "x" * 100_000],
        env=[
            {"name": "A", "value": "$(A) $(B)"},
            {"name": "B", "value": "$(A)"},
            {"name": "EVIL", "value": "line\nbreak; $(B) --rm"},
        ],
    )
    await node.assign(pod(hostNetwork=True, restartPolicy="Never", containers=[spec]))
    await node.until(lambda status: status.phase == "Succeeded")
    log = log_of(tmp_path).read_text()
    printed = "".join(
        line.split(" ", 3)[3] + ("\n" if line.split(" ", 3)[2] == "F" else "")
        for line in log.split("\n")[:-1]
    )
    expanded = "$(A) $(B)"  # a reference to itself, and to what is not defined yet, stays
    expected = [*evil[:2], expanded, "$(A)", *evil[4:], "x" * 100_000]
    assert printed.rstrip("\n") == (
        "".join(f"[{one}]" for one in expected) + f"{{line\nbreak; {expanded} --rm}}"
    )
    assert not Path("/tmp/evil").exists()


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or nobody but its parent's wait is missing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def running(node: RealNode) -> ContainerStatus:
    """The attempt that runs now; Podman takes the lost one for running, too."""
    found = [s for s in await node.runtime.list_containers() if s.state == "running"]
    return max(found, key=lambda status: status.attempt)


async def nothing_left(node: RealNode) -> None:
    """Wait until every container of ours is gone."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await node.runtime.list_containers():
            await asyncio.sleep(0.05)


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_program_that_is_not_there_is_a_start_error(node: RealNode) -> None:
    missing = container(image=TEST_IMAGE, command=["/no/such/program"])
    await node.assign(pod(hostNetwork=True, restartPolicy="Never", containers=[missing]))
    status = await node.until(lambda status: status.phase == "Failed")
    ended = status.containerStatuses[0].state.terminated
    assert ended is not None
    assert (ended.exitCode, ended.reason) == (128, "StartError")
    assert "/no/such/program" in ended.message


async def test_a_container_of_somebody_else_is_never_touched(
    node: RealNode, podman: Podman
) -> None:
    name = await podman.run("run", "-d", "--network=none", TEST_IMAGE, "/bin/sleep", "1000")
    await node.assign(shell("sleep 1000", terminationGracePeriodSeconds=0))
    await node.until(ready)
    await node.remove(UID)
    await nothing_left(node)
    assert await podman.run("inspect", "-f", "{{.State.Status}}", name) == "running"
