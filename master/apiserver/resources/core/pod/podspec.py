"""Rules for the spec of pods and pod templates. Source: pkg/apis/core/validation."""

from __future__ import annotations

import re

from common.api import errors, names
from common.api.types.core_v1 import PodDNSConfig, PodSecurityContext, PodSpec, PodTemplateSpec
from master.apiserver.registry.strategy import validate_annotations, validate_labels
from master.apiserver.resources.core.pod.container.container import validate_containers
from master.apiserver.resources.core.pod.container.resources import (
    validate_amount,
    validate_resources,
)
from master.apiserver.resources.core.pod.podscheduling import (
    REQUIREMENTS_MAX,
    validate_affinity,
    validate_spreading,
    validate_tolerations,
)
from master.apiserver.resources.core.pod.podvolumes import (
    seccomp,
    seccomp_annotations,
    validate_volumes,
)
from master.apiserver.resources.lib import addresses
from master.apiserver.resources.lib.checks import INT32_MAX, Findings, between, few, named, one_of

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_NAMESERVERS_MAX = 3
_SEARCHES_MAX = 32
_SEARCH_MAX_CHARACTERS = 2048
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_SYSCTL_MAX = 253


def validate_template(path: str, template: PodTemplateSpec) -> Findings:
    """A pod template; it has labels and annotations, but no name."""
    yield from validate_labels(template.metadata.labels, f"{path}.labels")
    yield from validate_annotations(template.metadata.annotations, f"{path}.annotations")
    yield from seccomp_annotations(f"{path}.annotations", template.metadata.annotations)
    yield from validate_pod_spec(f"{path}.spec", template.spec)
    if template.spec.ephemeralContainers:
        text = "ephemeral containers not allowed in pod template"
        yield errors.forbidden(f"{path}.spec.ephemeralContainers", text)


def validate_pod_spec(path: str, spec: PodSpec, *, is_pod: bool = False) -> Findings:
    """A spec with its defaults filled in; a pod's has more of them than a template's."""
    yield from validate_volumes(f"{path}.volumes", spec.volumes)
    volumes = {volume.name for volume in spec.volumes}
    yield from validate_containers(path, spec, volumes)
    if spec.resources is not None:
        yield from validate_resources(f"{path}.resources", spec.resources)
    yield from _host_network(f"{path}.containers", spec, is_pod)
    yield from one_of(f"{path}.restartPolicy", spec.restartPolicy, RESTART_POLICIES)
    yield from one_of(f"{path}.dnsPolicy", spec.dnsPolicy, _DNS_POLICIES)
    yield from few(f"{path}.nodeSelector", spec.nodeSelector, REQUIREMENTS_MAX)
    yield from validate_labels(spec.nodeSelector, f"{path}.nodeSelector")
    if spec.securityContext is not None:
        yield from _security_context(f"{path}.securityContext", spec.securityContext)
    if spec.shareProcessNamespace and spec.hostPID:
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield errors.invalid(f"{path}.securityContext.shareProcessNamespace", True, text)
    if spec.affinity is not None:
        yield from validate_affinity(f"{path}.affinity", spec.affinity)
    yield from _dns(f"{path}.dnsConfig", spec)
    yield from _gates(path, spec)
    spreading = spec.topologySpreadConstraints
    yield from validate_spreading(f"{path}.topologySpreadConstraints", spreading)
    yield from _names(path, spec)
    deadline = spec.activeDeadlineSeconds
    yield from between(f"{path}.activeDeadlineSeconds", deadline, 1, INT32_MAX)
    yield from validate_tolerations(f"{path}.tolerations", spec.tolerations)
    yield from _host_aliases(f"{path}.hostAliases", spec)
    policies = ("PreemptLowerPriority", "Never")
    yield from one_of(f"{path}.preemptionPolicy", spec.preemptionPolicy, policies)
    for name, amount in spec.overhead.items():
        yield from validate_amount(f"{path}.overhead[{name}]", name, amount)
    if spec.os is not None:
        yield from one_of(f"{path}.os.name", spec.os.name, ("linux", "windows"))


def _host_network(path: str, spec: PodSpec, is_pod: bool) -> Findings:
    """On the host's network a container's port is the host's."""
    if not spec.hostNetwork:
        return
    for number, container in enumerate(spec.containers):
        for index, port in enumerate(container.ports):
            if port.hostPort != port.containerPort and (is_pod or port.hostPort):
                text = "must match `containerPort` when `hostNetwork` is true"
                where = f"{path}[{number}].ports[{index}].hostPort"
                yield errors.invalid(where, port.hostPort, text)


def _security_context(path: str, context: PodSecurityContext) -> Findings:
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        yield from between(f"{path}.{name}", getattr(context, name), 0, INT32_MAX)
    for number, group in enumerate(context.supplementalGroups):
        yield from between(f"{path}.supplementalGroups[{number}]", group, 0, INT32_MAX)
    seen = set()
    for number, sysctl in enumerate(context.sysctls):
        here = f"{path}.sysctls[{number}].name"
        if not sysctl.name:
            yield errors.required(here)
        elif len(sysctl.name) > _SYSCTL_MAX or not _SYSCTL.fullmatch(sysctl.name):
            text = f"must have at most {_SYSCTL_MAX} characters and match regex {_SYSCTL.pattern}"
            yield errors.invalid(here, sysctl.name, text)
        elif sysctl.name in seen:
            yield errors.duplicate(here, sysctl.name)
        seen.add(sysctl.name)
    policy = context.fsGroupChangePolicy
    yield from one_of(f"{path}.fsGroupChangePolicy", policy, ("OnRootMismatch", "Always"))
    groups = context.supplementalGroupsPolicy
    yield from one_of(f"{path}.supplementalGroupsPolicy", groups, ("Merge", "Strict"))
    yield from seccomp(f"{path}.seccompProfile", context.seccompProfile)


def _dns(path: str, spec: PodSpec) -> Findings:
    config = spec.dnsConfig
    if spec.dnsPolicy == "None":
        if config is None:
            yield errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.nameservers:
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield errors.required(f"{path}.nameservers", text)
            return
    if config is not None:
        yield from _dns_config(path, config)


def _dns_config(path: str, config: PodDNSConfig) -> Findings:
    """What a resolver can hold."""
    if len(config.nameservers) > _NAMESERVERS_MAX:
        text = f"must not have more than {_NAMESERVERS_MAX} nameservers"
        yield errors.invalid(f"{path}.nameservers", list(config.nameservers), text)
    for number, address in enumerate(config.nameservers):
        yield from addresses.ip(f"{path}.nameservers[{number}]", address)
    if len(config.searches) > _SEARCHES_MAX:
        text = f"must not have more than {_SEARCHES_MAX} search paths"
        yield errors.invalid(f"{path}.searches", list(config.searches), text)
    if len(" ".join(config.searches)) > _SEARCH_MAX_CHARACTERS:
        text = (
            f"must not have more than {_SEARCH_MAX_CHARACTERS} characters (including spaces) in "
            "the search list"
        )
        yield errors.invalid(f"{path}.searches", list(config.searches), text)
    for number, search in enumerate(config.searches):
        if search != ".":
            # Underscores are for service records: `_tcp.example.com`.
            plain = search.removesuffix(".").replace("_", "a")
            for problem in names.dns_subdomain(plain):
                yield errors.invalid(f"{path}.searches[{number}]", search, problem)
    for number, option in enumerate(config.options):
        if not option.name:
            yield errors.required(f"{path}.options[{number}]", "must not be empty")


def _gates(path: str, spec: PodSpec) -> Findings:
    for number, gate in enumerate(spec.readinessGates):
        where = f"{path}.readinessGates[{number}].conditionType"
        yield from named(where, gate.conditionType, names.qualified_name)
    seen = set()
    for number, held in enumerate(spec.schedulingGates):
        where = f"{path}.schedulingGates[{number}]"
        yield from named(where, held.name, names.qualified_name)
        if held.name in seen:
            yield errors.duplicate(where, held.name)
        seen.add(held.name)


def _names(path: str, spec: PodSpec) -> Findings:
    """Names of other objects, and the parts of the pod's host name."""
    for member in ("serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"):
        value = getattr(spec, member)
        if value:
            yield from named(f"{path}.{member}", value, names.dns_subdomain)
    for member in ("hostname", "subdomain"):
        value = getattr(spec, member)
        if value:
            yield from named(f"{path}.{member}", value, names.dns_label)


def _host_aliases(path: str, spec: PodSpec) -> Findings:
    for number, alias in enumerate(spec.hostAliases):
        yield from addresses.ip(f"{path}[{number}].ip", alias.ip)
        for index, host in enumerate(alias.hostnames):
            where = f"{path}[{number}].hostnames[{index}]"
            yield from named(where, host, names.dns_subdomain)
