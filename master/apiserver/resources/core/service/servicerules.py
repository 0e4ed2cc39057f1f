"""What a Service's spec must be. Source: pkg/apis/core/validation of Kubernetes."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from common.api import errors, labels, names
from common.api.types.core_v1 import ServicePort, ServiceSpec
from master.apiserver.registry.strategy import validate_labels
from master.apiserver.resources.lib import addresses, checks
from master.apiserver.resources.lib.checks import Findings

HEADLESS = "None"
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
POLICIES = ("Cluster", "Local")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
AFFINITY_SECONDS_MAX = 86400


def is_headless(spec: ServiceSpec) -> bool:
    """Whether the service has no address: its name leads to the pods themselves."""
    return spec.clusterIP == HEADLESS or spec.clusterIPs == (HEADLESS,)


def is_external(spec: ServiceSpec) -> bool:
    """Whether it can be reached from outside the cluster."""
    if spec.type in ("NodePort", "LoadBalancer"):
        return True
    return spec.type == "ClusterIP" and bool(spec.externalIPs)


def needs_node_ports(spec: ServiceSpec) -> bool:
    """Whether each port gets one on the nodes."""
    if spec.type == "LoadBalancer":
        return spec.allocateLoadBalancerNodePorts is not False
    return spec.type == "NodePort"


def needs_health_check(spec: ServiceSpec) -> bool:
    """Whether a load balancer has to ask which nodes have endpoints."""
    return spec.type == "LoadBalancer" and spec.externalTrafficPolicy == "Local"


def validate_spec(spec: ServiceSpec) -> Findings:
    """Everything that is wrong with a spec that has its defaults; allocated values may be unset."""
    if not spec.ports and not is_headless(spec) and spec.type != "ExternalName":
        yield errors.required("spec.ports")
    yield from _type(spec)
    for number, port in enumerate(spec.ports):
        yield from _port(f"spec.ports[{number}]", port, named=len(spec.ports) > 1)
    yield from checks.unique("spec.ports[{}].name", [port.name for port in spec.ports])
    yield from checks.few("spec.selector", spec.selector, labels.REQUIREMENTS_MAX)
    yield from validate_labels(spec.selector, "spec.selector")
    yield from _affinity(spec)
    if spec.type != "ExternalName":
        yield from _addresses(spec)
    for number, text in enumerate(spec.externalIPs):
        yield from addresses.endpoint_ip(f"spec.externalIPs[{number}]", text)
    yield from checks.one_of("spec.type", spec.type, TYPES)
    yield from _distinct_ports(spec)
    yield from _load_balancer(spec)
    yield from _traffic(spec)


def _type(spec: ServiceSpec) -> Findings:
    """What only some types may have."""
    if spec.type in ("LoadBalancer", "NodePort") and is_headless(spec):
        detail = f"may not be set to 'None' for {spec.type} services"
        yield errors.invalid("spec.clusterIPs[0]", HEADLESS, detail)
    if spec.type != "ExternalName":
        return
    for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if getattr(spec, name):
            yield errors.forbidden(f"spec.{name}", "may not be set for ExternalName services")
    name = spec.externalName.removesuffix(".")
    if name:
        yield from checks.named("spec.externalName", name, names.dns_subdomain)
    else:
        yield errors.required("spec.externalName")


def _port(path: str, port: ServicePort, *, named: bool) -> Findings:
    if port.name:
        yield from checks.named(f"{path}.name", port.name, names.dns_label)
    elif named:
        yield errors.required(f"{path}.name")
    yield from checks.between(f"{path}.port", port.port, 1, 65535)
    yield from checks.one_of(f"{path}.protocol", port.protocol, PROTOCOLS)
    yield from checks.port(f"{path}.targetPort", port.targetPort)
    if port.appProtocol is not None:
        yield from checks.named(f"{path}.appProtocol", port.appProtocol, names.qualified_name)


def _affinity(spec: ServiceSpec) -> Findings:
    yield from checks.one_of("spec.sessionAffinity", spec.sessionAffinity, ("ClientIP", "None"))
    config, path = spec.sessionAffinityConfig, "spec.sessionAffinityConfig"
    if spec.sessionAffinity == "ClientIP" and config is not None and config.clientIP is not None:
        seconds = config.clientIP.timeoutSeconds
        if seconds is not None and not 0 < seconds <= AFFINITY_SECONDS_MAX:
            detail = f"must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"
            yield errors.invalid(f"{path}.clientIP.timeoutSeconds", seconds, detail)
    elif spec.sessionAffinity == "None" and config is not None:
        yield errors.forbidden(path, "must not be set when session affinity is None")


def _addresses(spec: ServiceSpec) -> Findings:
    """Cluster IPs and their families; here there is IPv4 only."""
    ips, path = spec.clusterIPs, "spec.clusterIPs"
    if spec.clusterIP and not ips:
        yield errors.required(path)
    elif spec.clusterIP and ips[0] != spec.clusterIP:
        yield errors.invalid(path, list(ips), "first value must match `clusterIP`")
    elif ips and not spec.clusterIP:
        yield errors.invalid(path, list(ips), "must be empty when `clusterIP` is not specified")
    for number, family in enumerate(spec.ipFamilies):
        yield from checks.one_of(f"spec.ipFamilies[{number}]", family, FAMILIES)
    yield from checks.one_of("spec.ipFamilyPolicy", spec.ipFamilyPolicy, FAMILY_POLICIES)
    if HEADLESS in ips:
        if len(ips) > 1:
            yield errors.invalid(path, list(ips), "'None' must be the first and only value")
        return
    for number, text in enumerate(ips):
        yield from addresses.ip(f"{path}[{number}]", text)
    if len(ips) > 1:
        detail = "may specify no more than one IP for each IP family"
        yield errors.invalid(path, list(ips), detail)
    if spec.ipFamilyPolicy == "RequireDualStack" and not is_headless(spec):
        detail = "this cluster is not configured for dual-stack services"
        yield errors.invalid("spec.ipFamilyPolicy", spec.ipFamilyPolicy, detail)
    if "IPv6" in spec.ipFamilies and not is_headless(spec):
        number = spec.ipFamilies.index("IPv6")
        yield errors.invalid(f"spec.ipFamilies[{number}]", "IPv6", "not configured on this cluster")


def _distinct_ports(spec: ServiceSpec) -> Findings:
    """Each protocol has each port once, inside and on the nodes."""
    ports, node_ports = set(), set()
    for number, port in enumerate(spec.ports):
        path = f"spec.ports[{number}]"
        if port.nodePort and spec.type == "ClusterIP":
            detail = "may not be used when `type` is 'ClusterIP'"
            yield errors.forbidden(f"{path}.nodePort", detail)
        if port.nodePort and (port.protocol, port.nodePort) in node_ports:
            yield errors.duplicate(f"{path}.nodePort", port.nodePort)
        if (port.protocol, port.port) in ports:
            yield errors.duplicate(path, {"port": port.port, "protocol": port.protocol})
        node_ports.add((port.protocol, port.nodePort))
        ports.add((port.protocol, port.port))


def _load_balancer(spec: ServiceSpec) -> Findings:
    """Members that only a load balancer has a use for."""
    detail = "may only be used when `type` is 'LoadBalancer'"
    ours = spec.type == "LoadBalancer"
    if spec.loadBalancerSourceRanges and not ours:
        yield errors.forbidden("spec.LoadBalancerSourceRanges", detail)
    for number, text in enumerate(spec.loadBalancerSourceRanges):
        path = f"spec.LoadBalancerSourceRanges[{number}]"
        if not _is_cidr(text.strip(), strict=False):
            what = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield errors.invalid(path, text, what)
        elif not _is_cidr(text.strip(), strict=True):
            what = "must not have bits set beyond the prefix length"
            yield errors.invalid(path, text, what)
    if spec.allocateLoadBalancerNodePorts is not None and not ours:
        yield errors.forbidden("spec.allocateLoadBalancerNodePorts", detail)
    if spec.loadBalancerClass is not None:
        path = "spec.loadBalancerClass"
        if not ours:
            yield errors.forbidden(path, detail)
        yield from checks.named(path, spec.loadBalancerClass, names.qualified_name)


def _is_cidr(text: str, *, strict: bool) -> bool:
    for network in (IPv4Network, IPv6Network):
        try:
            network(text, strict=strict)
        except ValueError:
            continue
        return "/" in text
    return False


def _traffic(spec: ServiceSpec) -> Findings:
    """Which endpoints traffic from outside and inside may go to."""
    path = "spec.externalTrafficPolicy"
    if is_external(spec):
        yield from checks.one_of(path, spec.externalTrafficPolicy, POLICIES)
    elif spec.externalTrafficPolicy:
        detail = "may only be set for externally-accessible services"
        yield errors.invalid(path, spec.externalTrafficPolicy, detail)
    if spec.healthCheckNodePort and not needs_health_check(spec):
        detail = (
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        )
        yield errors.invalid("spec.healthCheckNodePort", spec.healthCheckNodePort, detail)
    yield from checks.one_of("spec.internalTrafficPolicy", spec.internalTrafficPolicy, POLICIES)
    yield from checks.one_of("spec.trafficDistribution", spec.trafficDistribution, DISTRIBUTIONS)


def unchanged_address(new: ServiceSpec, old: ServiceSpec) -> Findings:
    """A cluster IP stays as long as the service is one that has one."""
    if "ExternalName" in (new.type, old.type) or not old.clusterIPs:
        return
    if not new.clusterIPs:
        yield errors.invalid("spec.clusterIPs[0]", [], "primary clusterIP can not be unset")
    elif new.clusterIPs[0] != old.clusterIPs[0]:
        yield errors.invalid("spec.clusterIPs[0]", list(new.clusterIPs), "may not change once set")
    checked = needs_health_check(old) and needs_health_check(new)
    if checked and new.healthCheckNodePort != old.healthCheckNodePort:
        yield errors.forbidden("spec.healthCheckNodePort", "field is immutable")
