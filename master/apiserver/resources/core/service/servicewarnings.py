"""What is accepted of a Service, and yet has no effect or goes away. Pure.

Source: k8s.io/kubernetes pkg/api/service/warnings.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from common.api.types.core_v1 import Service
from master.apiserver.resources.core.service.servicerules import HEADLESS
from master.apiserver.resources.lib import addresses

TEXTS_MAX = 100
_HINTS = "service.kubernetes.io/topology-aware-hints"


def of(service: Service) -> Iterator[str]:
    """The texts, in upstream's order."""
    spec = service.spec
    if _HINTS in service.metadata.annotations:
        mode = "service.kubernetes.io/topology-mode"
        yield f"annotation {_HINTS} is deprecated, please use {mode} instead"
    for number, text in enumerate(spec.clusterIPs if spec.clusterIP != HEADLESS else ()):
        yield from addresses.form(f"spec.clusterIPs[{number}]", text)
    headless = spec.type == "ClusterIP" and spec.clusterIP == HEADLESS
    if headless:
        yield from _ignored(service)
    for number, text in enumerate(spec.externalIPs):
        yield from addresses.form(f"spec.externalIPs[{number}]", text)
    external = spec.type == "ExternalName"
    if spec.externalIPs and not headless and not external:
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if spec.loadBalancerIP:
        yield from addresses.form("spec.loadBalancerIP", spec.loadBalancerIP)
    if spec.externalIPs and external:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if spec.externalName and not external:
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.trafficDistribution == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _ignored(service: Service) -> Iterator[str]:
    spec = service.spec
    if spec.loadBalancerIP:
        yield "spec.loadBalancerIP is ignored for headless services"
    if spec.externalIPs:
        yield "spec.externalIPs is ignored for headless services"
    if spec.sessionAffinity != "None":
        yield "spec.SessionAffinity is ignored for headless services"
