"""Pods that wait for a node: ready to be tried, backing off, or waiting for a cure.

Pure: the time (seconds, monotonic) is passed in. Source: pkg/scheduler/backend/queue of
Kubernetes; one second of back-off first, ten at most, and a retry after five minutes in any case.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

from common.runtime.backoff import Backoff
from master.scheduler.framework import ClusterEvent
from master.scheduler.pod import PodInfo

BACKOFF = Backoff(initial_seconds=1.0, cap_seconds=10.0)
UNSCHEDULABLE_MAX_SECONDS = 300.0


@dataclass(slots=True)
class _Entry:
    """A waiting pod. Heaps hold (order, entry) pairs; those whose entry has moved are skipped."""

    pod: PodInfo
    attempts: int = 0
    retry_at: float = 0.0
    where: str = ""
    order: tuple[float, ...] = ()
    cures: frozenset[ClusterEvent] = frozenset()


class SchedulingQueue:
    """Every pod that wants a node and has none, each once."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._active: list[tuple[tuple[float, ...], str]] = []
        self._backoff: list[tuple[tuple[float, ...], str]] = []
        self._unschedulable: set[str] = set()
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def check_invariants(self) -> None:
        """Every pod is in one place, and is found there by whoever looks for the next."""
        for key, entry in self._entries.items():
            assert entry.pod.key == key
            waits = {"active": self._active, "backoff": self._backoff}
            waits["unschedulable"] = self._backoff
            assert entry.where == "trying" or (entry.order, key) in waits[entry.where], key
        stuck = {key for key, entry in self._entries.items() if entry.where == "unschedulable"}
        assert self._unschedulable == stuck

    def add(self, pod: PodInfo, now: float) -> None:
        """A pod that is new or was changed; one that changed in what matters is tried again."""
        known = self._entries.get(pod.key)
        if known is not None and known.pod.uid == pod.uid:
            changed = (known.pod.shape, known.pod.priority) != (pod.shape, pod.priority)
            known.pod = pod
            if changed:
                self._wake(known, now)
            return
        self._entries[pod.key] = _Entry(pod)
        self._activate(self._entries[pod.key])

    def remove(self, key: str) -> None:
        """A pod that no longer waits: placed, deleted, gated."""
        self._entries.pop(key, None)
        self._unschedulable.discard(key)

    def pop(self, now: float) -> PodInfo | None:
        """The pod to try next: highest priority first, then who has waited longest."""
        self._move_due(now)
        while self._active:
            order, key = heapq.heappop(self._active)
            entry = self._entries.get(key)
            if entry is not None and entry.where == "active" and entry.order == order:
                entry.where = "trying"
                entry.attempts += 1
                return entry.pod
        return None

    def is_trying(self, pod: PodInfo) -> bool:
        """Whether a pod that was popped still waits for what comes of it."""
        entry = self._entries.get(pod.key)
        return entry is not None and entry.where == "trying" and entry.pod.uid == pod.uid

    def rejected(self, key: str, cures: Collection[ClusterEvent], now: float) -> None:
        """No node fits: wait for an event that could change that."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.where = "unschedulable"
        entry.cures = frozenset(cures)
        entry.retry_at = now + BACKOFF.delay_seconds(entry.attempts)
        entry.order = (now + UNSCHEDULABLE_MAX_SECONDS,)
        self._unschedulable.add(key)
        heapq.heappush(self._backoff, (entry.order, key))

    def failed(self, key: str, now: float) -> None:
        """Placing failed for a reason that is not the cluster's state: try again after a while."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.retry_at = now + BACKOFF.delay_seconds(entry.attempts)
            self._back_off(entry)

    def resume(self) -> None:
        """Nobody tries any more what was popped: those pods are tried again."""
        for entry in self._entries.values():
            if entry.where == "trying":
                self._activate(entry)

    def event(self, event: ClusterEvent, now: float) -> None:
        """The cluster has changed: try those again that this may help."""
        for key in list(self._unschedulable):
            entry = self._entries[key]
            if event in entry.cures:
                self._wake(entry, now)

    def wait_seconds(self, now: float) -> float | None:
        """How long until `pop` may have something without a further call; None for ever."""
        if self._active:
            return 0.0
        return max(0.0, self._backoff[0][0][0] - now) if self._backoff else None

    def _wake(self, entry: _Entry, now: float) -> None:
        if entry.where == "trying":
            return
        if entry.retry_at > now:
            self._back_off(entry)
        else:
            self._activate(entry)

    def _activate(self, entry: _Entry) -> None:
        self._sequence += 1
        self._unschedulable.discard(entry.pod.key)
        entry.where = "active"
        entry.order = (-float(entry.pod.priority), float(self._sequence))
        heapq.heappush(self._active, (entry.order, entry.pod.key))

    def _back_off(self, entry: _Entry) -> None:
        self._unschedulable.discard(entry.pod.key)
        entry.where = "backoff"
        entry.order = (entry.retry_at,)
        heapq.heappush(self._backoff, (entry.order, entry.pod.key))

    def _move_due(self, now: float) -> None:
        """Back-offs that are over, and pods that have waited for a cure for too long."""
        while self._backoff and self._backoff[0][0][0] <= now:
            order, key = heapq.heappop(self._backoff)
            entry = self._entries.get(key)
            waiting = entry is not None and entry.where in ("backoff", "unschedulable")
            if entry is not None and waiting and entry.order == order:
                self._activate(entry)
