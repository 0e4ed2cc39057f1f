"""The cells of Pod. Source: k8s.io/kubernetes pkg/printers/internalversion printPod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from common.api import times
from master.apiserver.resources.lib import cells

Plain = Mapping[str, Any]


class _Summary(NamedTuple):
    """What a group of containers adds up to; an empty reason leaves the pod's as it is."""

    reason: str
    ready: int


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a pod."""
    spec, status = obj["spec"], obj.get("status", {})
    sidecars = {c["name"] for c in spec.get("initContainers", []) if _always(c)}
    init = status.get("initContainerStatuses", [])
    main = status.get("containerStatuses", [])
    reason, ready = _initial_reason(status), 0
    starting = _init_summary(init, sidecars, len(spec.get("initContainers", [])))
    ready += starting.ready
    counted = init
    if not starting.reason or cells.condition(status, "Initialized") == "True":
        running = _main_summary(main, starting.reason or reason, status)
        reason, ready = running.reason, ready + running.ready
        counted = [c for c in init if c.get("name") in sidecars] + main
    else:
        reason = starting.reason
    total = len(spec.get("containers", [])) + len(sidecars)
    return {
        "Ready": f"{ready}/{total}",
        "Status": _deletion_reason(obj) or reason,
        "Restarts": _restarts(counted, now),
        "IP": next((ip.get("ip", "") for ip in status.get("podIPs", [])), "") or cells.NONE,
        "Node": spec.get("nodeName") or cells.NONE,
        "Nominated Node": status.get("nominatedNodeName") or cells.NONE,
        "Readiness Gates": _gates(spec, status),
    }


def _always(container: Plain) -> bool:
    return container.get("restartPolicy") == "Always"


def _initial_reason(status: Plain) -> str:
    """What the pod says of itself, before its containers are looked at."""
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return str(status.get("reason") or status.get("phase", ""))


def _init_summary(statuses: Iterable[Plain], sidecars: set[str], total: int) -> _Summary:
    """The first init container that holds the pod up decides its status."""
    ready = 0
    for number, container in enumerate(statuses):
        state = container.get("state", {})
        ended, waiting = state.get("terminated"), state.get("waiting", {}).get("reason", "")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if container.get("name") in sidecars and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if ended is not None:
            return _Summary(f"Init:{_end(ended)}", ready)
        if waiting and waiting != "PodInitializing":
            return _Summary(f"Init:{waiting}", ready)
        return _Summary(f"Init:{number}/{total}", ready)
    return _Summary("", ready)


def _end(ended: Plain) -> str:
    """Why a container ended."""
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode', 0)}"


def _main_summary(statuses: list[Plain], reason: str, status: Plain) -> _Summary:
    """The first container that waits or has ended decides; one that runs outweighs Completed."""
    ready, failure = 0, ""
    for container in reversed(statuses):
        state = container.get("state", {})
        ended, waiting = state.get("terminated"), state.get("waiting", {}).get("reason", "")
        if waiting:
            reason = waiting
        elif ended is not None:
            reason = _end(ended)
            failure = reason if ended.get("exitCode", 0) else failure
        elif container.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed":
        if ready and cells.condition(status, "Ready") == "True":
            reason = "Running"
        elif failure or ready:
            reason = failure or "NotReady"
    return _Summary(reason, ready)


def _deletion_reason(obj: Plain) -> str:
    status = obj.get("status", {})
    if not obj["metadata"].get("deletionTimestamp"):
        return ""
    if status.get("reason") == "NodeLost":
        return "Unknown"
    return "" if status.get("phase") in ("Succeeded", "Failed") else "Terminating"


def _restarts(statuses: Iterable[Plain], now: datetime) -> str:
    """How often, and when last: `3 (5m ago)`."""
    count, last = 0, ""
    for container in statuses:
        count += container.get("restartCount", 0)
        ended = container.get("lastState", {}).get("terminated") or {}
        finished = ended.get("finishedAt") or ""
        if finished and (not last or times.parse(finished) > times.parse(last)):
            last = finished
    return f"{count} ({cells.age(last, now)} ago)" if count and last else str(count)


def _gates(spec: Plain, status: Plain) -> str:
    gates = spec.get("readinessGates", [])
    if not gates:
        return cells.NONE
    true = sum(cells.condition(status, gate.get("conditionType", "")) == "True" for gate in gates)
    return f"{true}/{len(gates)}"
