"""Services and EndpointSlices for the tests of kube-proxy, in few words."""

from __future__ import annotations

from typing import Any

import msgspec

from node.kubeproxy.objects import EndpointSlice, Service
from node.kubeproxy.table import NodeFacts

NODE = "n1"
NODE_IP = "192.0.2.1"
VIP = "10.43.0.10"
FACTS = NodeFacts(NODE, (NODE_IP,))


def service(name: str = "web", *, ports: tuple[dict[str, Any], ...] = (), **spec: Any) -> Service:
    """A Service of namespace default with port 80/TCP; `spec` is its spec's other fields."""
    ports = ports or ({"port": 80, "protocol": "TCP"},)
    body = {"clusterIP": VIP, "type": "ClusterIP", "ports": ports, **spec}
    metadata = {"name": name, "namespace": "default"}
    return msgspec.convert({"metadata": metadata, "spec": body}, Service)


def endpoint(address: str, node: str = NODE, **conditions: bool) -> dict[str, Any]:
    """A ready endpoint, if `conditions` do not say otherwise."""
    return {"addresses": (address,), "nodeName": node, "conditions": {"ready": True, **conditions}}


def endpoint_slice(
    *endpoints: dict[str, Any],
    name: str = "web",
    ports: tuple[dict[str, Any], ...] = ({"port": 8080, "protocol": "TCP"},),
    kind: str = "IPv4",
) -> EndpointSlice:
    """An EndpointSlice of a service of namespace default."""
    labels = {"kubernetes.io/service-name": name}
    metadata = {"name": f"{name}-1", "namespace": "default", "labels": labels}
    made = {"metadata": metadata, "addressType": kind, "endpoints": endpoints, "ports": ports}
    return msgspec.convert(made, EndpointSlice)
