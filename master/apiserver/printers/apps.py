"""The cells of the apps group's kinds. Source: pkg/printers/internalversion."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from master.apiserver.printers import cells


def deployment(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a Deployment."""
    status = obj.get("status", {})
    return {
        **_template(obj),
        "Ready": _ready(obj),
        "Up-to-date": status.get("updatedReplicas", 0),
        "Available": status.get("availableReplicas", 0),
    }


def replica_set(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ReplicaSet."""
    return {**_template(obj), "Desired": obj.get("spec", {}).get("replicas", 0)}


def stateful_set(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a StatefulSet."""
    return {**_template(obj), "Ready": _ready(obj)}


def daemon_set(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a DaemonSet."""
    template = obj.get("spec", {}).get("template", {})
    wanted = template.get("spec", {}).get("nodeSelector", {})
    return {**_template(obj), "Node Selector": cells.pairs(wanted)}


def controller_revision(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ControllerRevision."""
    owners = obj["metadata"].get("ownerReferences", [])
    owner = next((owner for owner in owners if owner.get("controller")), None)
    if owner is None:
        return {"Controller": cells.NONE}
    group, slash, _ = owner.get("apiVersion", "").rpartition("/")
    kind = owner.get("kind", "").lower() + (f".{group}" if slash else "")
    return {"Controller": f"{kind}/{owner.get('name', '')}"}


def _template(obj: dict[str, Any]) -> dict[str, Any]:
    spec = obj.get("spec", {})
    return {
        **cells.containers(spec.get("template", {})),
        "Selector": cells.selector(spec.get("selector")),
    }


def _ready(obj: dict[str, Any]) -> str:
    ready = obj.get("status", {}).get("readyReplicas", 0)
    return f"{ready}/{obj.get('spec', {}).get('replicas', 0)}"
