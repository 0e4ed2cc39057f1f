"""The scheduler's shell: keeps columns and queue true, and carries decisions out.

Bindings run beside the cycles: a decided pod has its room in the columns at once, and loses it
again if the API refuses the binding.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from common.api import conditions, times
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.types.core_v1 import Pod, PodCondition
from common.client.api import ApiClient
from common.client.events import EventRecorder
from common.client.informer import Informer, Item, split_key
from common.runtime.clock import Clock, sleep_or_event
from master.scheduler.columns import Columns, NodeRow
from master.scheduler.cycle import Cycle, Decision
from master.scheduler.framework import ClusterEvent
from master.scheduler.own.exchange import OwnSchedulerFailed
from master.scheduler.own.process import OwnScheduler
from master.scheduler.pod import SCHEDULER_NAME, PodInfo, pod_info
from master.scheduler.queue import SchedulingQueue
from master.scheduler.registry import FILTERS, SCORES

log = logging.getLogger(__name__)
BINDINGS_AT_ONCE = 32
PIECES_A_TURN = 4
"""Of the preparation of a cycle; the largest takes two milliseconds."""


@dataclass(slots=True)
class _Lane:
    """The pods of one schedulerName: they wait, and are bound, apart from those of others."""

    decide: Callable[[PodInfo], Awaitable[Decision]]
    """Chooses a node; raises OwnSchedulerFailed."""
    recorder: EventRecorder
    queue: SchedulingQueue = field(default_factory=SchedulingQueue)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BINDINGS_AT_ONCE))
    moved: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, kw_only=True)
class OwnLane:
    """The user's own scheduler: its file, the schedulerName of its pods, and its Events."""

    name: str
    scheduler: OwnScheduler
    recorder: EventRecorder


class Scheduler:
    """Places every pod that wants it. Make it before its informers run."""

    def __init__(
        self,
        client: ApiClient,
        informers: Mapping[str, Informer],
        recorder: EventRecorder,
        *,
        clock: Clock,
        own: OwnLane | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._pods = informers["pods"]
        self._nodes = informers["nodes"]
        self._namespaces = informers["namespaces"]
        self._columns = Columns()
        self._cycle = Cycle(self._columns, FILTERS, SCORES)
        self._own = own.scheduler if own is not None else None
        self._lanes = {SCHEDULER_NAME: _Lane(self._decide, recorder)}
        if own is not None:
            self._lanes[own.name] = _Lane(self._decide_by_file, own.recorder)
        self._binding: dict[str, str] = {}
        self._namespaces.add_handler(self._on_namespace)
        self._nodes.add_handler(self._on_node)
        self._pods.add_handler(self._on_pod)

    async def run(self) -> None:
        """Schedule until cancelled; called again after a failure, go on with what was left."""
        for informer in (self._namespaces, self._pods, self._nodes):
            await informer.synced.wait()
        for lane in self._lanes.values():
            lane.slots = asyncio.Semaphore(BINDINGS_AT_ONCE)
            lane.queue.resume()
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self._lanes.values():
                    group.create_task(self._serve(lane, group))
                if self._own is not None:
                    group.create_task(self._own.watch(self._file_changed))
        finally:
            if self._own is not None:
                await self._own.stop()

    async def _decide(self, pod: PodInfo) -> Decision:
        await self._prepare(pod)
        return self._cycle.schedule(pod)

    async def _prepare(self, pod: PodInfo) -> None:
        """Do what a cycle would take long for, with turns for others."""
        for number, _ in enumerate(self._columns.prepare(pod.shape), start=1):
            if number % PIECES_A_TURN == 0:
                await asyncio.sleep(0)

    async def _decide_by_file(self, pod: PodInfo) -> Decision:
        assert self._own is not None
        await self._prepare(pod)
        return await self._own.decide(self._cycle, pod)

    async def _serve(self, lane: _Lane, group: asyncio.TaskGroup) -> None:
        """Place the pods of one lane, one after the other."""
        while True:
            await lane.slots.acquire()
            lane.moved.clear()
            pod = lane.queue.pop(self._clock.monotonic())
            if pod is None:
                lane.slots.release()
                await self._wait(lane)
            else:
                await self._place(lane, pod, group)
                await asyncio.sleep(0)

    async def _wait(self, lane: _Lane) -> None:
        """Until something has changed or a back-off is over."""
        seconds = lane.queue.wait_seconds(self._clock.monotonic())
        if seconds is None:
            await lane.moved.wait()
        else:
            await sleep_or_event(self._clock, seconds, lane.moved)

    async def _place(self, lane: _Lane, pod: PodInfo, group: asyncio.TaskGroup) -> None:
        """Decide about a pod and start what follows from it; that gives the slot back."""
        try:
            decision, failure = await lane.decide(pod), ""
        except OwnSchedulerFailed as error:
            decision, failure = Decision(""), str(error)
        except Exception as error:  # a pod that a plugin stumbles over keeps no other from its node
            log.exception("a scheduling cycle failed", extra={"object": pod.key})
            decision, failure = Decision(""), f"a plugin failed: {type(error).__name__}: {error}"
        now = self._clock.monotonic()
        if not lane.queue.is_trying(pod):
            lane.slots.release()
        elif failure:
            lane.queue.failed(pod.key, now)
            group.create_task(self._tell(lane, pod, "SchedulerError", failure))
        elif decision.rejection is not None:
            lane.queue.rejected(pod.key, decision.rejection.cures, now)
            text = str(decision.rejection)
            group.create_task(self._tell(lane, pod, "Unschedulable", text))
        else:
            self._cycle.assume(pod, decision.node)
            self._binding[pod.key] = pod.uid
            group.create_task(self._bind(lane, pod, decision.node))

    async def _bind(self, lane: _Lane, pod: PodInfo, node: str) -> None:
        """Bind, and tell it; a pod that cannot be bound gives its room back and tries again."""
        namespace, name = split_key(pod.key)
        bound = False
        try:
            await self._client.bind(namespace, name, uid=pod.uid, node=node)
            bound = True
        except StatusError as error:
            extra = {"object": pod.key, "node": node, "error": str(error)}
            log.info("binding failed", extra=extra)
        finally:
            lane.slots.release()
            if self._no_longer_binding(pod):
                if bound:
                    lane.queue.remove(pod.key)
                else:
                    self._binding_failed(lane, pod)
        if bound:
            log.info("pod bound", extra={"object": pod.key, "node": node})
            text = f"Successfully assigned {pod.key} to {node}"
            lane.recorder.record(dict(pod.about), "Normal", "Scheduled", text)

    def _no_longer_binding(self, pod: PodInfo) -> bool:
        """Whether the pod was still the one of its name: else its room has been given back."""
        if self._binding.get(pod.key) != pod.uid:
            return False
        del self._binding[pod.key]
        return True

    def _binding_failed(self, lane: _Lane, pod: PodInfo) -> None:
        item = self._pods.lister.by_key(pod.key)
        if item is not None and item.node:
            return
        self._cycle.forget(pod)
        now = self._clock.monotonic()
        self._event(ClusterEvent.POD_REMOVED, now)
        if item is not None:
            lane.queue.add(pod_info(item), now)
            lane.queue.failed(pod.key, now)
        self._wake()

    async def _tell(self, lane: _Lane, pod: PodInfo, reason: str, text: str) -> None:
        """An Event and the condition PodScheduled with what stands in the way."""
        lane.recorder.record(dict(pod.about), "Warning", "FailedScheduling", text)
        try:
            await self._set_condition(pod, reason, text)
        except StatusError as error:
            log.info("condition not set", extra={"object": pod.key, "error": str(error)})
        finally:
            lane.slots.release()

    async def _set_condition(self, pod: PodInfo, reason: str, text: str) -> None:
        item = self._pods.lister.by_key(pod.key)
        if item is None or item.uid != pod.uid or item.node:
            return
        current = item.decode(Pod)
        old = current.status.conditions
        new = PodCondition(
            type="PodScheduled",
            status="False",
            observedGeneration=current.metadata.generation,
            reason=reason,
            message=text,
            lastTransitionTime=times.to_time(self._clock.now()),
        )
        known = conditions.find(old, "PodScheduled")
        if known is not None and (known.status, known.message) == ("False", text):
            return
        status = {"conditions": msgspec.to_builtins(conditions.put(old, new))}
        await self._client.patch(
            self._pods.lister.resource,
            item.namespace,
            item.name,
            {"metadata": item.pin, "status": status},
            subresource="status",
        )

    def _on_node(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        """Keep the columns true and wake pods that the change may help."""
        if new is None:
            if old is not None:
                self._columns.remove_node(old.name)
            return
        before = self._columns.put_node(new)
        now = self._clock.monotonic()
        for event in _node_events(before, self._columns.nodes[new.name]):
            self._event(event, now)
        self._wake()

    def _on_namespace(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        """Which namespaces a term of affinity selects."""
        if new is not None:
            self._columns.namespaces[new.name] = new.labels
        elif old is not None:
            self._columns.namespaces.pop(old.name, None)

    def _on_pod(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        now = self._clock.monotonic()
        if new is None:
            if old is not None:
                self._dequeue(old.key)
                self._binding.pop(old.key, None)
                self._make_room(old.key, now)
            self._wake()
            return
        if old is not None and new.node and _takes_the_same(old, new):
            return
        pod = pod_info(new)
        if pod.node:
            self._dequeue(pod.key)
            self._reserve(pod, now)
        elif self._binding.get(pod.key) == pod.uid:
            return
        else:
            lane = self._lanes.get(pod.scheduler) if pod.wanted else None
            self._dequeue(pod.key, but=lane)
            if lane is not None:
                lane.queue.add(pod, now)
        self._wake()

    def _reserve(self, pod: PodInfo, now: float) -> None:
        """A placed pod: it has room until it has ended."""
        if pod.finished:
            self._make_room(pod.key, now)
        else:
            if self._columns.put_pod(pod, pod.node):
                self._event(ClusterEvent.POD_RESIZED, now)
            self._event(ClusterEvent.POD_ADDED, now)

    def _make_room(self, key: str, now: float) -> None:
        if self._columns.remove_pod(key):
            self._event(ClusterEvent.POD_REMOVED, now)

    def _file_changed(self) -> None:
        self._event(ClusterEvent.SCHEDULER_FILE, self._clock.monotonic())
        self._wake()

    def _dequeue(self, key: str, but: _Lane | None = None) -> None:
        """A pod that waits in no lane any longer, except one."""
        for lane in self._lanes.values():
            if lane is not but:
                lane.queue.remove(key)

    def _event(self, event: ClusterEvent, now: float) -> None:
        for lane in self._lanes.values():
            lane.queue.event(event, now)

    def _wake(self) -> None:
        for lane in self._lanes.values():
            lane.moved.set()


def _takes_the_same(old: Item, new: Item) -> bool:
    """Whether a placed pod takes the same room as before: surely so while its spec is the first."""
    if new.generation > 1 and pod_info(old).shape is not pod_info(new).shape:
        return False
    return (old.uid, old.node, old.deleting, old.phase, old.labels) == (
        new.uid,
        new.node,
        new.deleting,
        new.phase,
        new.labels,
    )


def _node_events(old: NodeRow | None, new: NodeRow) -> list[ClusterEvent]:
    """What a node's change may cure."""
    if old is None:
        return [ClusterEvent.NODE_ADDED]
    events = []
    if old.allocatable != new.allocatable:
        events.append(ClusterEvent.NODE_ALLOCATABLE)
    if old.labels != new.labels:
        events.append(ClusterEvent.NODE_LABELS)
    if (old.taints, old.unschedulable) != (new.taints, new.unschedulable):
        events.append(ClusterEvent.NODE_TAINTS)
    return events
