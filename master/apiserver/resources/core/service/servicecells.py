"""The cells of a Service. Source: pkg/printers/internalversion of Kubernetes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from master.apiserver.resources.lib import cells


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
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
