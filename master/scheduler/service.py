"""The scheduler's shell: keeps columns and queue true, and carries decisions out.

Bindings run beside the cycles: a decided pod has its room in the columns at once, and loses it
again if the API refuses the binding.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import msgspec

from common.api import conditions, times
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.types.core_v1 import Pod, PodCondition
from common.client.api import ApiClient
from common.client.events import EventRecorder
from common.client.informer import Informer, Item, split_key
from common.runtime.clock import Clock
from master.scheduler.columns import Columns, NodeRow
from master.scheduler.cycle import Cycle, Rejection
from master.scheduler.framework import ClusterEvent
from master.scheduler.pod import PodInfo, pod_info
from master.scheduler.queue import SchedulingQueue
from master.scheduler.registry import FILTERS, SCORES

log = logging.getLogger(__name__)
BINDINGS_AT_ONCE = 32


class Scheduler:
    """Places every pod that wants it. Make it before its informers run."""

    def __init__(
        self,
        client: ApiClient,
        informers: Mapping[str, Informer],
        recorder: EventRecorder,
        *,
        clock: Clock,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._pods = informers["pods"]
        self._nodes = informers["nodes"]
        self._columns = Columns()
        self._queue = SchedulingQueue()
        self._cycle = Cycle(self._columns, FILTERS, SCORES)
        self._binding: dict[str, str] = {}
        self._slots = asyncio.Semaphore(BINDINGS_AT_ONCE)
        self._moved = asyncio.Event()
        self._nodes.add_handler(self._on_node)
        self._pods.add_handler(self._on_pod)

    async def run(self) -> None:
        """Schedule until cancelled."""
        await self._pods.synced.wait()
        await self._nodes.synced.wait()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                self._moved.clear()
                pod = self._queue.pop(self._clock.monotonic())
                if pod is None:
                    self._slots.release()
                    await self._wait()
                else:
                    self._place(pod, group)
                    await asyncio.sleep(0)

    async def _wait(self) -> None:
        """Until something has changed or a back-off is over."""
        seconds = self._queue.wait_seconds(self._clock.monotonic())
        waits = [asyncio.ensure_future(self._moved.wait())]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep(seconds)))  # type: ignore[arg-type]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _place(self, pod: PodInfo, group: asyncio.TaskGroup) -> None:
        """Run a cycle for a pod and start what follows from it; that gives the slot back."""
        decision = self._cycle.schedule(pod)
        if decision.rejection is not None:
            self._queue.rejected(pod.key, decision.rejection.cures, self._clock.monotonic())
            group.create_task(self._tell(pod, decision.rejection))
            return
        self._cycle.assume(pod, decision.node)
        self._binding[pod.key] = pod.uid
        group.create_task(self._bind(pod, decision.node))

    async def _bind(self, pod: PodInfo, node: str) -> None:
        """Bind, and tell it; a pod that cannot be bound gives its room back and tries again."""
        namespace, name = split_key(pod.key)
        try:
            await self._client.bind(namespace, name, uid=pod.uid, node=node)
        except StatusError as error:
            extra = {"object": pod.key, "node": node, "error": str(error)}
            log.info("binding failed", extra=extra)
            if self._no_longer_binding(pod):
                self._binding_failed(pod)
        else:
            log.info("pod bound", extra={"object": pod.key, "node": node})
            text = f"Successfully assigned {pod.key} to {node}"
            self._recorder.record(dict(pod.about), "Normal", "Scheduled", text)
            if self._no_longer_binding(pod):
                self._queue.remove(pod.key)
        finally:
            self._slots.release()

    def _no_longer_binding(self, pod: PodInfo) -> bool:
        """Whether the pod was still the one of its name: else its room has been given back."""
        if self._binding.get(pod.key) != pod.uid:
            return False
        del self._binding[pod.key]
        return True

    def _binding_failed(self, pod: PodInfo) -> None:
        item = self._pods.lister.by_key(pod.key)
        if item is not None and item.node:
            return
        self._cycle.forget(pod)
        now = self._clock.monotonic()
        self._queue.event(ClusterEvent.POD_REMOVED, now)
        if item is not None:
            self._queue.add(pod_info(item), now)
            self._queue.failed(pod.key, now)
        self._moved.set()

    async def _tell(self, pod: PodInfo, rejection: Rejection) -> None:
        """An Event and the condition PodScheduled with the reasons."""
        text = str(rejection)
        self._recorder.record(dict(pod.about), "Warning", "FailedScheduling", text)
        try:
            await self._set_condition(pod, text)
        except StatusError as error:
            log.info("condition not set", extra={"object": pod.key, "error": str(error)})
        finally:
            self._slots.release()

    async def _set_condition(self, pod: PodInfo, text: str) -> None:
        item = self._pods.lister.by_key(pod.key)
        if item is None or item.uid != pod.uid or item.node:
            return
        old = item.decode(Pod).status.conditions
        new = PodCondition(
            type="PodScheduled",
            status="False",
            reason="Unschedulable",
            message=text,
            lastTransitionTime=times.to_time(self._clock.now()),
        )
        known = conditions.find(old, "PodScheduled")
        if known is not None and (known.status, known.message) == ("False", text):
            return
        pin = {"uid": item.uid, "resourceVersion": str(item.revision)}
        status = {"conditions": msgspec.to_builtins(conditions.put(old, new))}
        await self._client.patch(
            self._pods.lister.resource,
            item.namespace,
            item.name,
            {"metadata": pin, "status": status},
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
            self._queue.event(event, now)
        self._moved.set()

    def _on_pod(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        now = self._clock.monotonic()
        if new is None:
            if old is not None:
                self._queue.remove(old.key)
                self._binding.pop(old.key, None)
                self._make_room(old.key, now)
            self._moved.set()
            return
        if old is not None and new.node and _same_to_us(old, new):
            return
        pod = pod_info(new)
        if pod.node:
            self._queue.remove(pod.key)
            self._take_room(pod, now)
        elif self._binding.get(pod.key) == pod.uid:
            return
        elif pod.wanted:
            self._queue.add(pod, now)
        else:
            self._queue.remove(pod.key)
        self._moved.set()

    def _take_room(self, pod: PodInfo, now: float) -> None:
        """A placed pod: it has room until it has ended."""
        if pod.finished:
            self._make_room(pod.key, now)
        else:
            self._columns.put_pod(pod, pod.node)
            self._queue.event(ClusterEvent.POD_ADDED, now)

    def _make_room(self, key: str, now: float) -> None:
        if self._columns.remove_pod(key):
            self._queue.event(ClusterEvent.POD_REMOVED, now)


def _same_to_us(old: Item, new: Item) -> bool:
    """Whether a placed pod takes the same room as before."""
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
    found = []
    if old.allocatable != new.allocatable:
        found.append(ClusterEvent.NODE_ALLOCATABLE)
    if old.labels != new.labels:
        found.append(ClusterEvent.NODE_LABELS)
    if (old.taints, old.unschedulable) != (new.taints, new.unschedulable):
        found.append(ClusterEvent.NODE_TAINTS)
    return found
