"""The life of a pod and of a container, as tables: which state may follow which.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from typing import Literal

Phase = Literal["Pending", "Running", "Succeeded", "Failed"]
ContainerPhase = Literal["waiting", "running", "terminated"]

PHASES: dict[Phase, frozenset[Phase]] = {
    "Pending": frozenset({"Pending", "Running", "Succeeded", "Failed"}),
    "Running": frozenset({"Running", "Succeeded", "Failed"}),
    "Succeeded": frozenset({"Succeeded"}),
    "Failed": frozenset({"Failed"}),
}
"""A pod never goes back: its phase only moves to the right, and its end is final."""

CONTAINER_STATES: dict[ContainerPhase, frozenset[ContainerPhase]] = {
    "waiting": frozenset({"waiting", "running", "terminated"}),
    "running": frozenset({"running", "terminated"}),
    "terminated": frozenset({"terminated", "waiting", "running"}),
}
"""A container that ended waits or runs again only as a new attempt."""


class UnknownTransition(Exception):
    """A state follows that never can: a mistake in the planner or in what was observed."""


def known(phase: str) -> Phase | Literal[""]:
    """A phase as the API has it; empty for what is none, since anybody may write a status."""
    return next((each for each in PHASES if each == phase), "")


def advance(old: str, new: Phase) -> Phase:
    """The next phase of a pod; an ended pod stays as it ended. Raises UnknownTransition."""
    if old == "":
        return new
    if old not in PHASES:
        raise UnknownTransition(f"no such phase: {old}")
    known: Phase = old
    if known in ("Succeeded", "Failed"):
        return known
    if new == "Pending" and known == "Running":
        return known
    if new not in PHASES[known]:
        raise UnknownTransition(f"{old} -> {new}")
    return new


def end_of(states: list[ContainerPhase], exit_codes: list[int]) -> Phase:
    """How a deleted pod ends of which nothing runs: what has not succeeded never will."""
    succeeded = states and all(state == "terminated" for state in states) and not any(exit_codes)
    return "Succeeded" if succeeded else "Failed"


def phase_of(
    states: list[ContainerPhase],
    exit_codes: list[int],
    *,
    initialised: bool,
    init_failed: bool,
    restart_policy: str,
) -> Phase:
    """The phase that follows from the states of a pod's app containers.

    `exit_codes` are those of terminated containers, in any order. A container that ended and will
    run again counts as waiting or running, not as terminated: the caller decides that.
    """
    if init_failed:
        return "Failed"
    if not initialised:
        return "Pending"
    if states and all(state == "terminated" for state in states) and restart_policy != "Always":
        return "Failed" if any(exit_codes) else "Succeeded"
    if any(state in ("running", "terminated") for state in states):
        return "Running"
    return "Pending"
