"""The cells of the core group's kinds. Source: pkg/printers/internalversion."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from master.apiserver.printers import cells

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"
_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def node(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
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
    found = {key.removeprefix(ROLE_PREFIX) for key in labels if key.startswith(ROLE_PREFIX)}
    found.add(labels.get(ROLE_LABEL, ""))
    return sorted(found - {""})


def _address(status: dict[str, Any], kind: str) -> str:
    found = (a.get("address", "") for a in status.get("addresses", []) if a.get("type") == kind)
    return next(found, cells.NONE)


def config_map(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ConfigMap."""
    return {"Data": len(obj.get("data", {})) + len(obj.get("binaryData", {}))}


def secret(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a Secret."""
    return {"Data": len(obj.get("data", {}))}


def replication_controller(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ReplicationController."""
    spec = obj.get("spec", {})
    return {
        "Desired": spec.get("replicas", 0),
        "Selector": cells.pairs(spec.get("selector", {})),
        **cells.containers(spec.get("template") or {}),
    }


def pod_template(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a PodTemplate."""
    template = obj.get("template", {})
    labels = template.get("metadata", {}).get("labels", {})
    return {"Pod Labels": cells.pairs(labels), **cells.containers(template)}


def service(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a Service."""
    spec = obj.get("spec", {})
    ports = [
        f"{port.get('port', 0)}"
        + (f":{port['nodePort']}" if port.get("nodePort") else "")
        + f"/{port.get('protocol', 'TCP')}"
        for port in spec.get("ports", [])
    ]
    return {
        "Cluster-IP": next(iter(spec.get("clusterIPs", [])), cells.NONE),
        "External-IP": _external(obj),
        "Port(s)": ",".join(ports) or cells.NONE,
        "Selector": cells.pairs(spec.get("selector", {})),
    }


def _external(obj: dict[str, Any]) -> str:
    """The addresses from outside, or what stands for them."""
    spec = obj.get("spec", {})
    given = list(spec.get("externalIPs", []))
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(given) or cells.NONE
        case "LoadBalancer":
            ingress = obj.get("status", {}).get("loadBalancer", {}).get("ingress", [])
            balancers = {i.get("ip") or i.get("hostname", "") for i in ingress} - {""}
            return ",".join([*sorted(balancers), *given]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return cells.UNKNOWN


def endpoints(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of Endpoints."""
    subsets = obj.get("subsets", [])
    count = sum(len(s.get("addresses", [])) * max(1, len(s.get("ports", []))) for s in subsets)
    return {"Endpoints": cells.listed(_endpoints(subsets), count)}


def _endpoints(subsets: list[dict[str, Any]]) -> Iterator[str]:
    for subset in subsets:
        for port in subset.get("ports", []) or [None]:
            for address in subset.get("addresses", []):
                ip = address.get("ip", "")
                yield ip if port is None else _host_port(ip, port.get("port", 0))


def _host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def resource_quota(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ResourceQuota: used/hard, limits apart from all else."""
    status = obj.get("status", {})
    used = status.get("used", {})
    columns: dict[str, list[str]] = {"Request": [], "Limit": []}
    for name, hard in sorted(status.get("hard", {}).items()):
        column = "Limit" if name.startswith("limits.") else "Request"
        columns[column].append(f"{name}: {used.get(name, '0')}/{hard}")
    return {name: ", ".join(texts) for name, texts in columns.items()}


def persistent_volume(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a PersistentVolume."""
    spec, claim = obj.get("spec", {}), obj.get("spec", {}).get("claimRef")
    made = {
        "Access Modes": _modes(spec.get("accessModes", [])),
        "Claim": f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        **_unset(spec),
    }
    return made | _terminating(obj)


def persistent_volume_claim(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a PersistentVolumeClaim; a claim without a volume has no modes yet."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    bound = bool(spec.get("volumeName"))
    made = {
        "Access Modes": _modes(status.get("accessModes", [])) if bound else "",
        "Capacity": status.get("capacity", {}).get("storage", "0") if bound else "",
        **_unset(spec),
    }
    return made | _terminating(obj)


def _modes(modes: list[str]) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in modes)


def _unset(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "VolumeAttributesClass": spec.get("volumeAttributesClassName", "<unset>"),
        "VolumeMode": spec.get("volumeMode", "<unset>"),
    }


def _terminating(obj: dict[str, Any]) -> dict[str, Any]:
    return {"Status": "Terminating"} if obj["metadata"].get("deletionTimestamp") else {}
