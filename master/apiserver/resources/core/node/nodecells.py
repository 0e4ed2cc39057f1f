"""The cells of a Node. Source: pkg/printers/internalversion of Kubernetes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from master.apiserver.resources.lib import cells

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a node."""
    status = obj.get("status", {})
    ready = {"": "Unknown", "True": "Ready"}.get(cells.condition(status, "Ready"), "NotReady")
    unschedulable = obj.get("spec", {}).get("unschedulable")
    info = status.get("nodeInfo", {})
    kernel = info.get("kernelVersion") or cells.UNKNOWN
    if info.get("architecture"):
        kernel += f" ({info['architecture']})"
    return {
        "Status": f"{ready},SchedulingDisabled" if unschedulable else ready,
        "Roles": ",".join(_roles(obj["metadata"].get("labels", {}))) or cells.NONE,
        "Internal-IP": _address(status, "InternalIP"),
        "External-IP": _address(status, "ExternalIP"),
        "OS-Image": info.get("osImage") or cells.UNKNOWN,
        "Kernel-Version": kernel,
        "Container-Runtime": info.get("containerRuntimeVersion") or cells.UNKNOWN,
    }


def _roles(labels: dict[str, str]) -> list[str]:
    roles = {key.removeprefix(ROLE_PREFIX) for key in labels if key.startswith(ROLE_PREFIX)}
    roles.add(labels.get(ROLE_LABEL, ""))
    return sorted(roles - {""})


def _address(status: dict[str, Any], kind: str) -> str:
    addresses = (a.get("address", "") for a in status.get("addresses", []) if a.get("type") == kind)
    return next(addresses, cells.NONE)
