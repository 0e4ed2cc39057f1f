"""A whole kubelet on a machine without containers, and the master that it talks to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.api.codec import json as codec
from common.api.types.authentication_v1 import TokenRequest
from common.api.types.core_v1 import Pod, PodStatus
from common.runtime.offload import Offload
from node.kubelet.effects.executor import Tools
from node.kubelet.effects.processes import Stop
from node.kubelet.kubelet import Kubelet
from node.kubelet.machine.node_status import Machine, capacity
from node.kubelet.machine.stats import Stats
from node.kubelet.spec.sandboxes import NodeFiles
from node.kubelet.volumes.tokens import Tokens
from node.kubelet.volumes.volumes import Volumes
from node.network.ipam import AddressPool
from node.runtime.base import ContainerStatus
from node.runtime.fake import FakeRuntime
from node.session.tokens import NoToken
from protos import node_v1_pb2
from tests.fakes.checks import FakeChecks
from tests.fakes.clock import FakeClock
from tests.fakes.pods import HOST, IMAGE
from tests.fakes.rng import SeededRng
from tests.fakes.sandbox import FakeSandbox

TURNS = 300
CHANGES = (
    "create_container",
    "start_container",
    "signal_container",
    "set_limits",
    "remove_container",
)


class InlineOffload(Offload):
    """Calls at once, so that a test's virtual time does not run ahead of a thread."""

    async def __call__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call it here."""
        await asyncio.sleep(0)
        return func(*args, **kwargs)


class CheckedRuntime(FakeRuntime):
    """A fake runtime that checks its invariants with every call."""

    def _call(self, text: str) -> None:
        self.check_invariants()
        super()._call(text)

    def changes(self) -> list[str]:
        """The calls that change something."""
        return [call for call in self.calls if call.split()[0] in CHANGES]


@dataclass
class FakeProcesses:
    """Tells of the ends of a fake runtime's processes."""

    watched: dict[str, Callable[[], None]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def watch(self, status: ContainerStatus, ended: Callable[[], None]) -> Stop | None:
        """Watch one container."""
        if status.id in self.gone:
            return None
        self.watched[status.id] = ended
        return lambda: self.watched.pop(status.id, None) and None

    def end(self, container_id: str) -> None:
        """The kernel tells of an end."""
        self.gone.add(container_id)
        if ended := self.watched.pop(container_id, None):
            ended()


@dataclass
class FakeMaster:
    """What a kubelet has told the master."""

    reports: dict[str, list[PodStatus]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    nodes: list[bytes] = field(default_factory=list)
    usages: int = 0
    tokens: int = 0
    """How many tokens were issued."""
    away: bool = False

    def pod_report(self, report: node_v1_pb2.PodReport) -> None:
        """A pod's status."""
        self.reports.setdefault(report.uid, []).append(codec.decode(report.status, PodStatus))

    def pod_gone(self, gone: node_v1_pb2.PodGone) -> None:
        """Nothing is left of a pod."""
        self.gone.append(gone.uid)

    def node_report(self, status: bytes) -> None:
        """The node's status."""
        self.nodes.append(status)

    def usage(self, usage: node_v1_pb2.NodeUsage) -> None:
        """The machine's usage."""
        self.usages += 1

    async def token(self, namespace: str, account: str, body: bytes) -> bytes:
        """Issue a token: `ACCOUNT-NUMBER`."""
        if self.away:
            raise NoToken("the master cannot be reached")
        self.tokens += 1
        answer = codec.decode(body, TokenRequest)
        answer.status.token = f"{account}-{self.tokens}"
        return codec.encode(answer)

    def last(self, uid: str) -> PodStatus:
        """The newest status of a pod."""
        return self.reports[uid][-1]


NODE_FILES = NodeFiles("127.0.0.1 localhost\n192.0.2.1 node1\n", "nameserver 10.0.0.1\n")


class FakeNode:
    """A machine: it keeps containers and sandboxes while kubelets come and go."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.runtime = CheckedRuntime(self.clock)
        self.runtime.add_images(IMAGE)
        self.sandbox = FakeSandbox()
        self.processes = FakeProcesses()
        self.checks = FakeChecks(self.clock)
        self.master = FakeMaster()
        self.events: list[tuple[str, str]] = []
        self.assigned: dict[str, Pod] = {}
        self.offload = InlineOffload()
        self._directory = directory
        self._running: asyncio.Task[None] | None = None
        self.kubelet = self._new()

    def _new(self) -> Kubelet:
        tools = Tools(
            runtime=self.runtime,
            sandbox=self.sandbox,
            volumes=Volumes(self._directory / "pods"),
            tokens=Tokens(self.master.token, clock=self.clock, rng=SeededRng()),
            pool=AddressPool("10.42.1.0/29"),
            used_addresses=set,
            host=HOST,
            node_files=lambda: NODE_FILES,
            pods_dir=self._directory / "pods",
            log_root=str(self._directory / "logs"),
            record=lambda pod, container, kind, reason, message: self.events.append(
                (reason, message)
            ),
            processes=self.processes,
            offload=self.offload,
            clock=self.clock,
            checks=self.checks,
            rng=SeededRng(),
        )
        machine = Machine(
            name="node1",
            address=HOST.address,
            capacity=capacity(2, 4 << 30, 100 << 30, ""),
            machine_id="m",
            boot_id="b",
            os_image="Linux",
            version="0",
        )
        kubelet = Kubelet(tools, machine, self.master, Stats("/"))
        tools.used_addresses = kubelet.addresses
        return kubelet

    async def start(self, *, synced: bool = True) -> None:
        """A new kubelet begins: it knows its assignments, and hears from the master."""
        self.kubelet = self._new()
        await self.kubelet.relist()
        for pod in self.assigned.values():
            self._tell(pod)
        self._running = asyncio.create_task(self.kubelet.run())
        if synced:
            self.kubelet.synced(set(self.assigned))
        await self.settle()

    async def stop(self) -> None:
        """The kubelet dies."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def restart(self) -> None:
        """The kubelet dies, and another one begins."""
        await self.stop()
        await self.start()

    async def assign(self, *pods: Pod) -> None:
        """The master assigns pods, or newer states of them."""
        for pod in pods:
            self.assigned[pod.metadata.uid] = pod
            self._tell(pod)
        await self.settle()

    async def remove(self, uid: str) -> None:
        """A pod's object is gone."""
        del self.assigned[uid]
        self.kubelet.removed(uid)
        await self.settle()

    def _tell(self, pod: Pod) -> None:
        self.kubelet.assign(node_v1_pb2.PodAssignment(pod=codec.encode(pod)))

    async def end(self, container_id: str, exit_code: int) -> None:
        """A container's process ends by itself."""
        self.runtime.end(container_id, exit_code)
        self.processes.end(container_id)
        await self.settle()

    async def wait(self, seconds: float) -> None:
        """Time goes by."""
        await self.clock.advance(seconds)
        await self.settle()

    async def settle(self, turns: int = TURNS) -> None:
        """Everything that can be done now is done."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def containers(self) -> dict[str, ContainerStatus]:
        """The machine's containers by `name/attempt`; asking is no call of the kubelet's."""
        calls = list(self.runtime.calls)
        found = await self.runtime.list_containers()
        self.runtime.calls[:] = calls
        return {f"{status.name}/{status.attempt}": status for status in found}


async def end(node: FakeNode) -> None:
    """Stop the kubelet; it must leave no task behind."""
    await node.stop()
    node.offload.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    names = {task.get_name() for task in left if "kubelet" in str(task.get_coro())}
    assert not names, names
