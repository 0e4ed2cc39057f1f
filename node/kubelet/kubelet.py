"""The kubelet: a worker a pod, relists, reports. It touches only containers that are ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from common.api.codec import json as codec
from common.api.types.core_v1 import NodeStatus, Pod, PodSpec
from common.api.types.meta_v1 import ObjectMeta
from common.runtime.clock import sleep_or_event
from node.kubelet.effects import leftovers
from node.kubelet.effects.executor import Tools
from node.kubelet.effects.leftovers import UNKNOWN_POD, Leftovers
from node.kubelet.machine.node_status import Machine, node, node_status
from node.kubelet.machine.stats import Stats
from node.kubelet.pod_worker import PodWorker
from node.runtime.base import ContainerStatus, ImageStatus, RuntimeFailure, SandboxStatus
from protos import node_v1_pb2

log = logging.getLogger(__name__)
RELIST_SECONDS = 10.0
RELIST_RETRY_SECONDS = 1.0
RUNTIME_SILENCE_SECONDS = 30.0
"""The node stays Ready for so long when the runtime does not answer, as with Kubernetes' kubelet:
it may just be restarted, and pods, which run on, would be evicted for nothing."""
USAGE_SECONDS = 10.0
NODE_STATUS_SECONDS = 10.0
NODE_STATUS_RESEND_SECONDS = 300.0
OPERATIONS_AT_ONCE = 4
KILL_SECONDS = 3.0
"""What KILL takes, after the time that pods have when the machine shuts down."""


class Found(NamedTuple):
    """What a relist has found of a pod."""

    containers: Sequence[ContainerStatus]
    sandbox: SandboxStatus | None


NOTHING = Found((), None)


class Master(Protocol):
    """What the kubelet tells the master; messages wait while it is away."""

    def pod_report(self, report: node_v1_pb2.PodReport) -> None:
        """A pod's status."""
        ...

    def pod_gone(self, gone: node_v1_pb2.PodGone) -> None:
        """Nothing is left of a pod."""
        ...

    def node_report(self, status: bytes) -> None:
        """The node's status."""
        ...

    def usage(self, usage: node_v1_pb2.NodeUsage) -> None:
        """The machine's usage."""
        ...


class Kubelet:
    """Makes this machine's containers match what is assigned to it."""

    def __init__(self, tools: Tools, machine: Machine, master: Master, stats: Stats) -> None:
        self._tools = tools
        self._machine = machine
        self._master = master
        self._stats = stats
        self._operations = asyncio.Semaphore(OPERATIONS_AT_ONCE)
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._assigned: dict[str, node_v1_pb2.PodAssignment] = {}
        self._synced = False
        self._runtime_version = ""
        self._runtime_error = "not asked yet"
        self._silent_since: float | None = None
        self._ready_changed = asyncio.Event()
        self._halting = False
        self._images: list[ImageStatus] = []
        self._sequence = 0
        self._relisted: dict[str, Found] = {}
        """By pod UID."""
        self._listed = False

    def addresses(self) -> set[str]:
        """Pod addresses in use: of pods, and of sandboxes whose pods are not known yet."""
        sandboxes = [sandbox for _, sandbox in self._relisted.values()]
        held = {sandbox.address for sandbox in sandboxes if sandbox is not None}
        return held | {worker.memory.address for worker in self._workers.values()}

    def assignments(self) -> Mapping[str, node_v1_pb2.PodAssignment]:
        """The assignments by pod UID."""
        return self._assigned

    def assign(self, assignment: node_v1_pb2.PodAssignment) -> None:
        """A pod is bound here, or has changed."""
        uid = codec.decode(assignment.pod, Pod).metadata.uid
        self._assigned[uid] = assignment
        worker = self._workers.get(uid)
        if worker is not None and not worker.memory.unassigned:
            worker.assign(assignment)
        elif worker is None:
            self._start(uid, assignment)

    def removed(self, uid: str) -> None:
        """A pod's object is gone."""
        self._assigned.pop(uid, None)
        if worker := self._workers.get(uid):
            worker.unassign()

    def synced(self, uids: set[str]) -> None:
        """The master has sent every pod that is bound here: others are stopped."""
        self._synced = True
        for uid in list(self._workers):
            if uid not in uids:
                self.removed(uid)
            else:
                self._workers[uid].report_again()

    def _start(self, uid: str, assignment: node_v1_pb2.PodAssignment) -> PodWorker:
        worker = PodWorker(
            assignment,
            self._tools,
            self._operations,
            report=self._report,
            gone=self._gone,
        )
        self._workers[uid] = worker
        if self._halting:
            worker.halt(0.0)
        self._adopt(worker, uid)
        task = asyncio.create_task(worker.run(), name=f"pod {uid}")
        task.add_done_callback(lambda done: self._end(uid, done))
        self._tasks[uid] = task
        return worker

    def _adopt(self, worker: PodWorker, uid: str) -> None:
        """Let a new worker begin with what the last relist has found."""
        if self._listed:
            worker.observe(*self._relisted.get(uid, NOTHING))

    def _end(self, uid: str, task: asyncio.Task[None]) -> None:
        self._workers.pop(uid, None)
        self._tasks.pop(uid, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a pod's worker failed", extra={"object": uid}, exc_info=task.exception())

    def _report(self, pod: Pod, status: bytes) -> None:
        self._sequence += 1
        meta = pod.metadata
        self._master.pod_report(
            node_v1_pb2.PodReport(
                namespace=meta.namespace,
                name=meta.name,
                uid=meta.uid,
                sequence=self._sequence,
                status=status,
            )
        )

    def _gone(self, pod: Pod) -> None:
        meta = pod.metadata
        gone = node_v1_pb2.PodGone(namespace=meta.namespace, name=meta.name, uid=meta.uid)
        self._master.pod_gone(gone)

    async def run(self) -> None:
        """Work until cancelled; containers run on."""
        try:
            await self.relist()
            await self._measure()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._relist_often())
                group.create_task(self._every(USAGE_SECONDS, self._measure))
                group.create_task(self._report_node())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _relist_often(self) -> None:
        while True:
            seconds = RELIST_RETRY_SECONDS if self._runtime_error else RELIST_SECONDS
            await self._tools.clock.sleep(seconds)
            await self.relist()

    async def _every(self, seconds: float, work: Callable[[], Any]) -> None:
        while True:
            await self._tools.clock.sleep(seconds)
            await work()

    async def relist(self) -> None:
        """List all containers and sandboxes, and hand each worker what is its pod's."""
        steps = {uid: worker.steps for uid, worker in self._workers.items()}
        try:
            if not self._runtime_version or self._runtime_error:
                self._runtime_version = await self._tools.runtime.version()
            containers = await self._tools.runtime.list_containers()
            sandboxes = await self._tools.sandbox.list()
        except RuntimeFailure as error:
            if self._silent_since is None:
                self._silent_since = self._tools.clock.monotonic()
                log.warning("the runtime does not answer", extra={"error": str(error)})
            self._runtime_error = str(error)
            return
        left = await self._tools.offload(leftovers.find, self._tools.pods_dir, self._tools.log_root)
        if self._runtime_error:
            self._runtime_error, self._silent_since = "", None
            self._ready_changed.set()
        by_pod = defaultdict(list)
        for status in containers:
            by_pod[status.pod_uid].append(status)
        of_pod = {sandbox.pod_uid: sandbox for sandbox in sandboxes}
        pods = {uid: Found(by_pod[uid], of_pod.get(uid)) for uid in {*by_pod, *of_pod}}
        self._relisted, self._listed = pods, True
        for uid, worker in list(self._workers.items()):
            if steps.get(uid) == worker.steps:
                worker.observe(*pods.get(uid, NOTHING))
        for uid in set(self._assigned) - set(self._workers):
            self._start(uid, self._assigned[uid])  # its former worker has failed
        if self._synced:
            self._adopt_orphans(left)

    def _adopt_orphans(self, left: Leftovers) -> None:
        """Stop and remove pods that are not assigned here."""
        names = dict(left)
        for uid, (containers, sandbox) in self._relisted.items():
            known = containers[0] if containers else sandbox
            if known is not None and known.pod_name:
                names[uid] = (known.pod_namespace, known.pod_name)
            names.setdefault(uid, UNKNOWN_POD)
        for uid in sorted(set(names) - set(self._workers)):
            namespace, name = names[uid]
            pod = Pod(
                metadata=ObjectMeta(name=name or uid, namespace=namespace, uid=uid),
                spec=PodSpec(terminationGracePeriodSeconds=30),
            )
            log.info("removing a pod that is not assigned", extra={"object": f"{namespace}/{name}"})
            self._start(uid, node_v1_pb2.PodAssignment(pod=codec.encode(pod))).unassign()

    async def _measure(self) -> None:
        now_ms = int(self._tools.clock.now().timestamp() * 1000)
        running = [s for w in self._workers.values() for s in w.observed.all()]
        self._master.usage(await self._tools.offload(self._stats.measure, now_ms, running))

    def registration(self, pod_cidr: str) -> bytes:
        """The Node object for the first message of a stream, with the block of its pods.

        It has the images that were seen last: a runtime that does not answer must not keep the
        node from its master.
        """
        return codec.encode(node(self._machine, self._status(), pod_cidr))

    async def _look_at_images(self) -> None:
        if not self._runtime_error:
            # If it does not answer now, the next relist notices.
            with contextlib.suppress(RuntimeFailure):
                self._images = await self._tools.runtime.list_images()

    def _status(self) -> NodeStatus:
        return node_status(
            self._machine,
            runtime_version=self._runtime_version,
            unready=self._unready(),
            images=self._images,
            now=self._tools.clock.now(),
        )

    def _unready(self) -> str:
        """Why this node is not ready; empty when it is."""
        if self._halting:
            return "node is shutting down"
        silent, now = self._silent_since, self._tools.clock.monotonic()
        is_down = silent is None or now - silent >= RUNTIME_SILENCE_SECONDS
        if not self._runtime_error or (self._listed and not is_down):
            return ""
        return f"container runtime is down: {self._runtime_error}"

    async def _report_node(self) -> None:
        """Report the node's status when more than its time stamps has changed, or after long."""
        reported, sent_at = b"", 0.0
        while True:
            self._ready_changed.clear()
            await self._look_at_images()
            status = self._status()
            data = codec.encode(status)
            for condition in status.conditions:
                condition.lastHeartbeatTime = condition.lastTransitionTime = None
            essence, now = codec.encode(status), self._tools.clock.monotonic()
            if essence != reported or now - sent_at > NODE_STATUS_RESEND_SECONDS:
                reported, sent_at = essence, now
                self._master.node_report(data)
            await sleep_or_event(self._tools.clock, NODE_STATUS_SECONDS, self._ready_changed)

    async def halt(self, seconds: float) -> None:
        """The machine shuts down: become NotReady and stop all pods, each within its grace period
        and at most so many seconds. Returns when no container runs any more.

        Their objects stay: the containers are restarted when the machine has booted.
        """
        self._halting = True
        self._ready_changed.set()
        workers = list(self._workers.values())
        for worker in workers:
            worker.halt(seconds)
        all_halted = asyncio.Event()

        async def wait_for_all() -> None:
            for worker in workers:
                await worker.halted.wait()
            all_halted.set()

        waiting = asyncio.create_task(wait_for_all())
        # A process may hang in the kernel, even after KILL: it must not hold up the shutdown.
        await sleep_or_event(self._tools.clock, seconds + KILL_SECONDS, all_halted)
        waiting.cancel()

    def container(self, uid: str, container_id: str) -> ContainerStatus | None:
        """The present state of one container of a pod."""
        worker = self._workers.get(uid)
        attempts = worker.observed.all() if worker else []
        return next((s for s in attempts if s.id == container_id), None)

    def running_container(self, uid: str, name: str) -> ContainerStatus | None:
        """The container of that name that runs in a pod, or None."""
        worker = self._workers.get(uid)
        attempts = worker.observed.containers.get(name, []) if worker else []
        return attempts[-1] if attempts and attempts[-1].state == "running" else None

    def ready_sandbox(self, uid: str) -> SandboxStatus | None:
        """The sandbox of a pod that has one, or None."""
        worker = self._workers.get(uid)
        sandbox = worker.observed.sandbox if worker else None
        return sandbox if sandbox is not None and sandbox.ready else None

    def log_of(self, uid: str, container: str, *, previous: bool) -> ContainerStatus | None:
        """The attempt of a container whose log is meant, or None.

        The previous one is the end that its status tells of: of a container that waits for its
        next attempt, the last. One whose program could not be started has a log, too: what was
        said of that, or nothing.
        """
        worker = self._workers.get(uid)
        if worker is None:
            return None
        failed = worker.memory.start_failures
        attempts = worker.observed.containers.get(container, [])
        begun = [s for s in attempts if s.started_at or s.id in failed]
        if previous:
            ended = worker.last_end(container)
            return next((s for s in begun if s.id == ended), None)
        return begun[-1] if begun else None
