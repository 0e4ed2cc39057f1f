"""The life of a pod and of an attempt of a container, as tables: which state may follow which.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from typing import Literal

from node.runtime.base import ContainerStatus, State

Phase = Literal["Pending", "Running", "Succeeded", "Failed"]
ContainerPhase = Literal["waiting", "running", "terminated"]

PHASES: dict[Phase, frozenset[Phase]] = {
    "Pending": frozenset({"Pending", "Running", "Succeeded", "Failed"}),
    "Running": frozenset({"Running", "Succeeded", "Failed"}),
    "Succeeded": frozenset({"Succeeded"}),
    "Failed": frozenset({"Failed"}),
}
"""A pod never goes back: its phase only moves to the right, and its end is final."""

ATTEMPT_STATES: dict[State, frozenset[State]] = {
    "created": frozenset({"created", "running", "exited", "unknown"}),
    "running": frozenset({"running", "exited", "unknown"}),
    "exited": frozenset({"exited", "unknown"}),
    "unknown": frozenset({"unknown", "running", "exited"}),
}
"""What a runtime may say next of one container: what has ended runs again only as a new attempt."""


class UnknownPhase(Exception):
    """The text is no phase of a pod: a mistake of ours."""


def known(phase: str) -> Phase | Literal[""]:
    """A phase as the API has it; empty for what is none, since anybody may write a status."""
    return next((each for each in PHASES if each == phase), "")


def advance(old: str, new: Phase) -> Phase:
    """The next phase of a pod whose containers ask for `new`: it stays where that may not follow.

    `old` is empty for a pod that has none yet. Raises UnknownPhase.
    """
    if old == "":
        return new
    if old not in PHASES:
        raise UnknownPhase(old)
    return new if new in PHASES[old] else old


def illegal_transition(before: ContainerStatus | None, now: ContainerStatus) -> str:
    """Describes a change of state that the table does not have; empty for one that it has.

    `podman start` by hand can do it: the caller reports it, and takes the new state all the same.
    """
    if before is None or now.state in ATTEMPT_STATES[before.state]:
        return ""
    return f"container {now.name}, attempt {now.attempt}: {before.state} -> {now.state}"


def end_of(states: list[ContainerPhase], exit_codes: list[int]) -> Phase:
    """The last phase of a deleted pod of which nothing runs: Failed unless all have succeeded."""
    succeeded = states and all(state == "terminated" for state in states) and not any(exit_codes)
    return "Succeeded" if succeeded else "Failed"


def phase_of(
    states: list[ContainerPhase],
    exit_codes: list[int],
    *,
    initialised: bool,
    init_failed: bool,
) -> Phase:
    """The phase that follows from the states of a pod's app containers.

    `exit_codes` are those of terminated containers, in any order. A container that will be
    restarted counts as waiting or running, not as terminated: the caller knows restart policies.
    """
    if init_failed:
        return "Failed"
    if not initialised:
        return "Pending"
    if states and all(state == "terminated" for state in states):
        return "Failed" if any(exit_codes) else "Succeeded"
    if any(state in ("running", "terminated") for state in states):
        return "Running"
    return "Pending"
