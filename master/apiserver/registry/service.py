"""Defaults of Service; addresses and node ports are not allocated yet.

Source: k8s.io/kubernetes pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from common.api import names
from common.api.types.core_v1 import ClientIPConfig, Service, ServiceSpec, SessionAffinityConfig
from master.apiserver.registry.strategy import Strategy

CLIENT_IP_TIMEOUT_SECONDS = 10800
_OUTSIDE = ("NodePort", "LoadBalancer")


class ServiceStrategy(Strategy):
    """A service is stored with the defaults that clients print."""

    def name_problems(self, name: str) -> list[str]:
        """Services are DNS labels: they become host names."""
        return names.dns_label(name)

    def default(self, obj: Service) -> None:
        """ClusterIP, TCP, no affinity."""
        spec = obj.spec
        spec.type = spec.type or "ClusterIP"
        _default_affinity(spec)
        for port in spec.ports:
            port.protocol = port.protocol or "TCP"
            if port.targetPort in ("", 0):
                port.targetPort = port.port
        outside = spec.type in _OUTSIDE or (spec.type == "ClusterIP" and spec.externalIPs)
        if outside and not spec.externalTrafficPolicy:
            spec.externalTrafficPolicy = "Cluster"
        if spec.internalTrafficPolicy is None and spec.type != "ExternalName":
            spec.internalTrafficPolicy = "Cluster"
        if spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is None:
            spec.allocateLoadBalancerNodePorts = True


def _default_affinity(spec: ServiceSpec) -> None:
    spec.sessionAffinity = spec.sessionAffinity or "None"
    config = spec.sessionAffinityConfig
    if spec.sessionAffinity == "None":
        spec.sessionAffinityConfig = None
    elif spec.sessionAffinity == "ClientIP" and (
        config is None or config.clientIP is None or config.clientIP.timeoutSeconds is None
    ):
        spec.sessionAffinityConfig = SessionAffinityConfig(
            clientIP=ClientIPConfig(timeoutSeconds=CLIENT_IP_TIMEOUT_SECONDS)
        )
