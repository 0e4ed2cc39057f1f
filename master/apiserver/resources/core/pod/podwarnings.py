"""What is accepted of a pod or a pod template, and yet is hardly what its writer wants.

Each text is a generator's: whoever reads the first hundred does no more work than for those. Pure.
Source: k8s.io/kubernetes pkg/api/pod/warnings.go and pkg/api/node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

from common.api import names, quantity
from common.api.types import Quantity
from common.api.types.core_v1 import (
    Affinity,
    Container,
    ContainerPort,
    NodeSelectorTerm,
    PodAffinityTerm,
    PodSpec,
)
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.resources.core.pod.podvolumes import SECCOMP_CONTAINER, SECCOMP_POD
from master.apiserver.resources.core.pod.volumewarnings import volumes
from master.apiserver.resources.lib import addresses

TEXTS_MAX = 100
_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": (
        'deprecated since v1.17; use "topology.kubernetes.io/region" instead'
    ),
    "failure-domain.beta.kubernetes.io/zone": (
        'deprecated since v1.17; use "topology.kubernetes.io/zone" instead'
    ),
    "beta.kubernetes.io/instance-type": (
        'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead'
    ),
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": (
        "deprecated since v1.22; use Taints and Tolerations instead"
    ),
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": (
        'non-functional in v1.11+; use the "sysctls" field instead'
    ),
    "security.alpha.kubernetes.io/unsafe-sysctls": (
        'non-functional in v1.11+; use the "sysctls" field instead'
    ),
}
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_BYTES = ("memory", "ephemeral-storage")
Texts = Iterator[str]


def of_pod(spec: PodSpec, meta: ObjectMeta) -> list[str]:
    """The warnings for a pod."""
    return list(islice(_all("", spec, meta, template=False), TEXTS_MAX))


def of_template(path: str, spec: PodSpec, meta: ObjectMeta) -> list[str]:
    """The warnings for a template at `path`."""
    return list(islice(_all(f"{path}.", spec, meta, template=True), TEXTS_MAX))


def recommended_label(name: str, what: str) -> list[str]:
    """A name that becomes a host's should be one label of DNS."""
    problems = names.dns_label(name)
    if not problems:
        return []
    text = "which can result in surprising behavior; a DNS label is recommended"
    return [f"metadata.name: this is used in {what}, {text}: [{' '.join(problems)}]"]


def _all(root: str, spec: PodSpec, meta: ObjectMeta, *, template: bool) -> Texts:
    path, notes = f"{root}spec", meta.annotations
    yield from _placement(path, spec)
    for key, text in _ANNOTATIONS.items():
        if key in notes:
            yield f"{root}metadata.annotations[{key}]: {text}"
    yield from volumes(f"{path}.volumes", spec.volumes)
    yield from _repeated(path, spec)
    for name in _BYTES:
        yield from _fraction(f"{path}.overhead", name, spec.overhead)
    profile = spec.securityContext and spec.securityContext.seccompProfile
    if SECCOMP_POD in notes and not profile:
        yield f"{root}metadata.annotations[{SECCOMP_POD}]: {_functionless('seccompProfile')}"
    for where, container in _containers(path, spec):
        yield from _annotations(root, notes, container, spec, template=template)
        resources = container.resources
        for name in _BYTES:
            for kind, amounts in (("limits", resources.limits), ("requests", resources.requests)):
                yield from _fraction(f"{where}.resources.{kind}", name, amounts)
        yield from _environment(f"{where}.env", container)
    yield from _ports(path, spec)
    yield from _port_names(path, spec)
    if spec.affinity is not None:
        yield from _pod_terms(f"{path}.affinity", spec.affinity)
    yield from _addresses(path, spec)


def _functionless(field: str) -> str:
    return f'non-functional in v1.27+; use the "{field}" field instead'


def _containers(path: str, spec: PodSpec) -> Iterator[tuple[str, Container]]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for number, container in enumerate(getattr(spec, name)):
            yield f"{path}.{name}[{number}]", container


def _placement(path: str, spec: PodSpec) -> Texts:
    """Labels of nodes that are no longer used; selectors that select nothing."""
    for key in spec.nodeSelector:
        if key in _LABELS:
            yield f"{path}.nodeSelector[{key}]: {_LABELS[key]}"
    nodes = spec.affinity.nodeAffinity if spec.affinity else None
    if nodes is not None:
        where, required = f"{path}.affinity.nodeAffinity", getattr(nodes, _REQUIRED)
        for number, term in enumerate(required.nodeSelectorTerms if required else ()):
            here = f"{where}.{_REQUIRED}.nodeSelectorTerms[{number}]"
            yield from _node_term(here, term, values=False)
        for number, preferred in enumerate(getattr(nodes, _PREFERRED)):
            here = f"{where}.{_PREFERRED}[{number}].preference"
            yield from _node_term(here, preferred.preference, values=True)
    for number, constraint in enumerate(spec.topologySpreadConstraints):
        here, key = f"{path}.topologySpreadConstraints[{number}]", constraint.topologyKey
        if key in _LABELS:
            yield f"{here}.topologyKey: {key} is {_LABELS[key]}"
        if constraint.labelSelector is None:
            yield f"{here}.labelSelector: {_NO_SELECTOR}"


def _node_term(path: str, term: NodeSelectorTerm, *, values: bool) -> Texts:
    for number, requirement in enumerate(term.matchExpressions):
        here, key = f"{path}.matchExpressions[{number}]", requirement.key
        if key in _LABELS:
            yield f"{here}.key: {key} is {_LABELS[key]}"
        for index, value in enumerate(requirement.values if values else ()):
            for problem in names.label_value(value):
                yield f"{here}.values[{index}]: {value} is invalid, {problem}"


def _repeated(path: str, spec: PodSpec) -> Texts:
    """Names and addresses that stand there twice, of which one is lost by a patch."""
    seen: set[str] = set()
    for number, alias in enumerate(spec.hostAliases):
        if alias.ip in seen:
            yield f'{path}.hostAliases[{number}].ip: duplicate ip "{alias.ip}"'
        seen.add(alias.ip)
    seen = set()
    for number, secret in enumerate(spec.imagePullSecrets):
        if secret.name in seen:
            yield f'{path}.imagePullSecrets[{number}].name: duplicate name "{secret.name}"'
        seen.add(secret.name)
    for number, secret in enumerate(spec.imagePullSecrets):
        if not secret.name:
            yield f'{path}.imagePullSecrets[{number}].name: invalid empty name ""'


def _fraction(path: str, name: str, amounts: Mapping[str, Quantity]) -> Texts:
    amount = amounts.get(name)
    if amount is not None and quantity.parse(amount) % 1:
        text = f'fractional byte value "{amount}" is invalid, must be an integer'
        yield f"{path}[{name}]: {text}"


def _annotations(
    root: str, notes: Mapping[str, str], container: Container, spec: PodSpec, *, template: bool
) -> Texts:
    """Annotations in place of which there are fields."""
    own, pods = container.securityContext, spec.securityContext
    key = f"{SECCOMP_CONTAINER}{container.name}"
    if key in notes and not (own and own.seccompProfile):
        yield f"{root}metadata.annotations[{key}]: {_functionless('seccompProfile')}"
    key = f"{_APPARMOR}{container.name}"
    profile = (own and own.appArmorProfile) or (pods and pods.appArmorProfile)
    if key in notes and not profile and template:
        text = 'deprecated since v1.30; use the "appArmorProfile" field instead'
        yield f"{root}metadata.annotations[{key}]: {text}"


def _environment(path: str, container: Container) -> Texts:
    """A variable that stands there twice, and does not build on what it was before."""
    seen: set[str] = set()
    for number, variable in enumerate(container.env):
        before = f"$({variable.name})"
        builds = variable.valueFrom is None and before in variable.value != before
        if variable.name in seen and not builds:
            text = f'hides previous definition of "{variable.name}"'
            yield f"{path}[{number}]: {text}, which may be dropped when using apply"
        seen.add(variable.name)


def _ports(path: str, spec: PodSpec) -> Texts:
    """Ports that stand there twice, or that lead to the same port of a node."""
    known: dict[tuple[object, ...], list[str]] = {}
    for where, port in _all_ports(path, spec):
        if port.hostIP and not port.hostPort:
            yield f"{where}: hostIP set without hostPort: {_go(port)}"
        base = (port.containerPort, port.protocol)
        exact = (*base, port.hostIP, port.hostPort)
        for other in known.get(exact, ()):
            yield f"{where}: duplicate port definition with {other}"
        same = set(known.get(exact, ()))
        for other in known.get((*base, "any") if not port.hostPort else (*base, "none"), ()):
            if other not in same:
                yield f"{where}: overlapping port definition with {other}"
        ambiguous = (*base, "ip" if not port.hostIP else "all", port.hostPort)
        for other in known.get(ambiguous, ()) if port.hostPort else ():
            yield f"{where}: dangerously ambiguous port definition with {other}"
        kept = [exact, (*base, "any")]
        kept.append((*base, "all" if not port.hostIP else "ip", port.hostPort))
        if not port.hostPort:
            kept.append((*base, "none"))
        for key in kept:
            known.setdefault(key, []).append(where)


def _go(port: ContainerPort) -> str:
    """A port as Go prints its struct."""
    return (
        f"{{Name:{port.name} HostPort:{port.hostPort} ContainerPort:{port.containerPort} "
        f"Protocol:{port.protocol} HostIP:{port.hostIP}}}"
    )


def _all_ports(path: str, spec: PodSpec) -> Iterator[tuple[str, ContainerPort]]:
    for where, container in _containers(path, spec):
        for number, port in enumerate(container.ports):
            yield f"{where}.ports[{number}]", port


def _port_names(path: str, spec: PodSpec) -> Texts:
    first: dict[str, str] = {}
    for where, port in _all_ports(path, spec):
        other = first.setdefault(port.name, where) if port.name else where
        if other != where:
            text = f"services and probes that select ports by name will use {other}"
            yield f'{where}: duplicate port name "{port.name}" with {other}, {text}'


def _pod_terms(path: str, affinity: Affinity) -> Texts:
    for name in ("podAffinity", "podAntiAffinity"):
        pods = getattr(affinity, name)
        if pods is None:
            continue
        required: Sequence[PodAffinityTerm] = getattr(pods, _REQUIRED)
        for number, term in enumerate(required):
            if term.labelSelector is None:
                yield f"{path}.{name}.{_REQUIRED}[{number}].labelSelector: {_NO_SELECTOR}"
        for number, weighted in enumerate(getattr(pods, _PREFERRED)):
            if weighted.podAffinityTerm.labelSelector is None:
                where = f"{path}.{name}.{_PREFERRED}[{number}].podAffinityTerm.labelSelector"
                yield f"{where}: {_NO_SELECTOR}"


def _addresses(path: str, spec: PodSpec) -> Texts:
    servers = spec.dnsConfig.nameservers if spec.dnsConfig else ()
    return chain(
        chain.from_iterable(
            addresses.form(f"{path}.dnsConfig.nameservers[{number}]", text)
            for number, text in enumerate(servers)
        ),
        chain.from_iterable(
            addresses.form(f"{path}.hostAliases[{number}].ip", alias.ip)
            for number, alias in enumerate(spec.hostAliases)
        ),
    )
