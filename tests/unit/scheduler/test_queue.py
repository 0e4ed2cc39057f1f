"""The queue: priority, back-off, cures."""

from __future__ import annotations

from dataclasses import replace

from master.scheduler.framework import ClusterEvent
from master.scheduler.pod import PodInfo
from master.scheduler.queue import SchedulingQueue
from tests.unit.scheduler.world import pod


def keys(queue: SchedulingQueue, now: float) -> list[str]:
    """All that can be tried now."""
    found = []
    while (info := queue.pop(now)) is not None:
        found.append(info.key)
    return found


def rejected(queue: SchedulingQueue, info: PodInfo, now: float) -> None:
    queue.add(info, now)
    assert queue.pop(now) is info
    queue.rejected(info.key, {ClusterEvent.NODE_ADDED}, now)


def test_priority_then_age() -> None:
    queue = SchedulingQueue()
    for name, priority in (("a", 0), ("b", 10), ("c", 0), ("d", 10)):
        queue.add(replace(pod(name), priority=priority), 0)
    assert keys(queue, 0) == ["default/b", "default/d", "default/a", "default/c"]


def test_a_pod_waits_for_a_cure_and_its_back_off() -> None:
    queue = SchedulingQueue()
    rejected(queue, pod("a"), 0)
    assert keys(queue, 100) == []
    queue.event(ClusterEvent.POD_REMOVED, 100)
    assert keys(queue, 100) == []
    queue.event(ClusterEvent.NODE_ADDED, 100)
    assert keys(queue, 100) == ["default/a"]


def test_a_cure_during_the_back_off_counts_after_it() -> None:
    queue = SchedulingQueue()
    rejected(queue, pod("a"), 0)
    queue.event(ClusterEvent.NODE_ADDED, 0.2)
    assert keys(queue, 0.9) == []
    assert queue.wait_seconds(0.9) == 1.0 - 0.9
    assert keys(queue, 1.0) == ["default/a"]


def test_back_off_doubles_up_to_ten_seconds() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    now, delays = 0.0, []
    for _ in range(6):
        assert queue.pop(now) is not None
        queue.failed("default/a", now)
        wait = queue.wait_seconds(now)
        assert wait is not None
        delays.append(wait)
        now += wait
    assert delays == [1, 2, 4, 8, 10, 10]


def test_nothing_waits_longer_than_five_minutes() -> None:
    queue = SchedulingQueue()
    rejected(queue, pod("a"), 0)
    assert queue.wait_seconds(0) == 300
    assert keys(queue, 300) == ["default/a"]


def test_an_update_that_matters_is_tried_again() -> None:
    queue = SchedulingQueue()
    rejected(queue, pod("a", cpu="8"), 0)
    queue.add(pod("a", cpu="8"), 5)
    assert keys(queue, 5) == []
    queue.add(pod("a", cpu="1"), 5)
    assert keys(queue, 5) == ["default/a"]


def test_a_pod_that_left_is_not_tried() -> None:
    queue = SchedulingQueue()
    queue.add(pod("a"), 0)
    queue.remove("default/a")
    assert keys(queue, 0) == []
    assert queue.wait_seconds(0) in (None, 0.0)
    assert len(queue) == 0


def test_a_new_pod_of_the_same_name_starts_anew() -> None:
    queue = SchedulingQueue()
    rejected(queue, pod("a"), 0)
    queue.add(replace(pod("a"), uid="other"), 1)
    assert keys(queue, 1) == ["default/a"]
