"""The CPU and memory of the machine that are set aside for pods, and resizes that wait for some.

Pure: no clock, no IO. Pods get what the scheduler has given them, whatever is left here; only what
a resize asks for beyond that must fit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from common.api.podrequests import CPU, MEMORY, Amounts

COUNTED = (CPU, MEMORY)


class Refusal(NamedTuple):
    """Why there is no room now, or never; in Kubernetes' words."""

    reason: Literal["Deferred", "Infeasible"]
    message: str


class Request(NamedTuple):
    """What a resized pod asks for in all."""

    amounts: Amounts
    priority: int
    guaranteed: bool
    made: Callable[[], None]
    """Called when there is room after all: it is kept for the pod."""


class Room:
    """What is set aside for each pod, by its UID."""

    def __init__(self, capacity: Mapping[str, int]) -> None:
        self._capacity = capacity
        self._held: dict[str, Amounts] = {}
        self._waiting: dict[str, tuple[int, Request]] = {}
        self._numbers = itertools.count()

    def hold(self, uid: str, amounts: Amounts) -> None:
        """Set aside what a pod has, whether it fits or not."""
        self._held[uid] = amounts
        self._settle()

    def leave(self, uid: str) -> None:
        """A pod has ended: it needs nothing any more."""
        self._waiting.pop(uid, None)
        if self._held.pop(uid, None) is not None:
            self._settle()

    def ask(self, uid: str, request: Request) -> Refusal | None:
        """Set aside what a resized pod asks for, in place of what it has; or say why not.

        A request that is deferred waits for room, in place of one that the pod made before.
        """
        former = self._waiting.pop(uid, None)
        for name in COUNTED:
            asked, capacity = request.amounts.get(name, 0), self._capacity[name]
            if self._grows(uid, name, request.amounts) and asked > capacity:
                text = f"Node didn't have enough capacity: {name}, requested: {asked}"
                return Refusal("Infeasible", f"{text}, capacity: {capacity}")
        lack = self._lack(uid, request.amounts)
        if not lack:
            self.hold(uid, request.amounts)
            return None
        self._waiting[uid] = (next(self._numbers) if former is None else former[0], request)
        return Refusal("Deferred", lack)

    def _grows(self, uid: str, name: str, amounts: Amounts) -> bool:
        return amounts.get(name, 0) > self._held.get(uid, {}).get(name, 0)

    def _lack(self, uid: str, amounts: Amounts) -> str:
        """What there is too little of for a pod to grow; empty for nothing."""
        for name in COUNTED:
            others = sum(held.get(name, 0) for one, held in self._held.items() if one != uid)
            asked, capacity = amounts.get(name, 0), self._capacity[name]
            if self._grows(uid, name, amounts) and asked + others > capacity:
                text = f"Node didn't have enough resource: {name}, requested: {asked}"
                return f"{text}, used: {others}, capacity: {capacity}"
        return ""

    def _settle(self) -> None:
        """Give room to those that wait: by priority, Guaranteed before others, in their order."""
        for uid, (_, request) in sorted(self._waiting.items(), key=_turn):
            if not self._lack(uid, request.amounts):
                del self._waiting[uid]
                self._held[uid] = request.amounts
                request.made()


def _turn(waiting: tuple[str, tuple[int, Request]]) -> tuple[int, bool, int]:
    number, request = waiting[1]
    return -request.priority, not request.guaranteed, number
