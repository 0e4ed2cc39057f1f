"""Rules for containers of any sort. Source: pkg/apis/core/validation."""

from __future__ import annotations

from collections.abc import Iterable

from common.api import errors, names
from common.api.types.core_v1 import (
    Container,
    ContainerPort,
    EphemeralContainer,
    PodSpec,
    SecurityContext,
    VolumeDevice,
    VolumeMount,
)
from master.apiserver.resources.core.pod.container.env import validate_env, validate_env_from
from master.apiserver.resources.core.pod.container.probes import PROBES, validate_probes
from master.apiserver.resources.core.pod.container.resources import validate_resources
from master.apiserver.resources.core.pod.podvolumes import no_backsteps, relative_path, seccomp
from master.apiserver.resources.lib.checks import (
    INT32_MAX,
    Findings,
    between,
    named,
    one_of,
    unique,
)

PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RULE_ACTIONS = ("Restart", "RestartAllContainers")
_RULE_OPERATORS = ("In", "NotIn")
_RULES_MAX, _EXIT_CODES_MAX = 20, 255
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_FOR_SIDECARS = "may not be set for init containers without restartPolicy=Always"
_NOT_EPHEMERAL = (
    "ports",
    "resources",
    *PROBES,
    "lifecycle",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
)


def validate_containers(path: str, spec: PodSpec, volumes: set[str]) -> Findings:
    """All containers of a pod, whose valid volumes are `volumes`."""
    if not spec.containers:
        yield errors.required(f"{path}.containers")
    yield from _main(f"{path}.containers", spec, volumes)
    yield from _init(f"{path}.initContainers", spec, volumes)
    yield from _ephemeral(f"{path}.ephemeralContainers", spec, volumes)


def _main(path: str, spec: PodSpec, volumes: set[str]) -> Findings:
    for number, container in enumerate(spec.containers):
        here = f"{path}[{number}]"
        yield from _common(here, container, volumes)
        yield from validate_probes(here, container, spec.terminationGracePeriodSeconds)
        yield from _restarts(here, container)
    yield from unique(path + "[{}].name", [container.name for container in spec.containers])
    yield from _host_ports(path, spec.containers)


def _init(path: str, spec: PodSpec, volumes: set[str]) -> Findings:
    """Init containers run one after the other; those that always restart are sidecars."""
    taken = {container.name for container in spec.containers}
    for number, container in enumerate(spec.initContainers):
        here = f"{path}[{number}]"
        yield from _common(here, container, volumes)
        yield from _restarts(here, container)
        if container.name in taken:
            yield errors.duplicate(f"{here}.name", container.name)
        taken.add(container.name)
        yield from _host_ports(path, [container])
        if container.restartPolicy == "Always":
            yield from validate_probes(here, container, spec.terminationGracePeriodSeconds)
            continue
        for name in ("lifecycle", *PROBES):
            if getattr(container, name) is not None:
                yield errors.forbidden(f"{here}.{name}", _FOR_SIDECARS)


def _restarts(path: str, container: Container) -> Findings:
    """A container's restart policy, and rules for exit codes, which need one."""
    policy, rules = container.restartPolicy, container.restartPolicyRules
    if policy is None and rules:
        text = "must specify restartPolicy when restart rules are used"
        yield errors.required(f"{path}.restartPolicy", text)
    elif policy is not None and policy not in _RESTART_POLICIES:
        yield errors.not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES)
    if len(rules) > _RULES_MAX:
        yield errors.too_many(f"{path}.restartPolicyRules", len(rules), _RULES_MAX)
    for number, rule in enumerate(rules):
        here = f"{path}.restartPolicyRules[{number}]"
        if rule.action not in _RULE_ACTIONS:
            yield errors.not_supported(f"{here}.action", rule.action, _RULE_ACTIONS)
        codes = rule.exitCodes
        if codes is None:
            yield errors.required(f"{here}.exitCodes", "must be specified")
            continue
        if codes.operator not in _RULE_OPERATORS:
            yield errors.not_supported(
                f"{here}.exitCodes.operator", codes.operator, _RULE_OPERATORS
            )
        if len(codes.values) > _EXIT_CODES_MAX:
            count = len(codes.values)
            yield errors.too_many(f"{here}.exitCodes.values", count, _EXIT_CODES_MAX)


def _ephemeral(path: str, spec: PodSpec, volumes: set[str]) -> Findings:
    """Ephemeral containers are for a look inside; they take no part in the pod's life."""
    others = {container.name for container in (*spec.containers, *spec.initContainers)}
    taken = set(others)
    for number, container in enumerate(spec.ephemeralContainers):
        here, target = f"{path}[{number}]", container.targetContainerName
        yield from _common(here, container, volumes)
        if container.name in taken:
            yield errors.duplicate(f"{here}.name", container.name)
        taken.add(container.name)
        if target and target not in others:
            yield errors.not_found_value(f"{here}.targetContainerName", target)
        empty = EphemeralContainer()
        for name in _NOT_EPHEMERAL:
            if getattr(container, name) != getattr(empty, name):
                text = "cannot be set for an Ephemeral Container"
                yield errors.forbidden(f"{here}.{name}", text)


def _common(path: str, container: Container | EphemeralContainer, volumes: set[str]) -> Findings:
    if not container.name:
        yield errors.required(f"{path}.name")
    else:
        yield from named(f"{path}.name", container.name, names.dns_label)
    if not container.image:
        yield errors.required(f"{path}.image")
    elif container.image != container.image.strip():
        text = "must not have leading or trailing whitespace"
        yield errors.invalid(f"{path}.image", container.image, text)
    policy = container.terminationMessagePolicy
    yield from one_of(f"{path}.terminationMessagePolicy", policy, _MESSAGE_POLICIES)
    yield from _ports(f"{path}.ports", container.ports)
    yield from validate_env(f"{path}.env", container.env)
    yield from validate_env_from(f"{path}.envFrom", container.envFrom)
    yield from _mounts(f"{path}.volumeMounts", container, volumes)
    yield from _devices(f"{path}.volumeDevices", container.volumeDevices, volumes)
    yield from one_of(f"{path}.imagePullPolicy", container.imagePullPolicy, _PULL_POLICIES)
    yield from validate_resources(f"{path}.resources", container.resources)
    if container.securityContext is not None:
        yield from _security_context(f"{path}.securityContext", container.securityContext)


def _ports(path: str, ports: tuple[ContainerPort, ...]) -> Findings:
    seen = set()
    for number, port in enumerate(ports):
        here = f"{path}[{number}]"
        problems = names.port_name(port.name) if port.name else []
        for problem in problems:
            yield errors.invalid(f"{here}.name", port.name, problem)
        if port.name and not problems and port.name in seen:
            yield errors.duplicate(f"{here}.name", port.name)
        seen.add(port.name)
        if port.containerPort == 0:
            yield errors.required(f"{here}.containerPort")
        else:
            yield from between(f"{here}.containerPort", port.containerPort, 1, 65535)
        if port.hostPort:
            yield from between(f"{here}.hostPort", port.hostPort, 1, 65535)
        yield from one_of(f"{here}.protocol", port.protocol, PROTOCOLS)


def _host_ports(path: str, containers: Iterable[Container]) -> Findings:
    """A port of the host serves one container."""
    seen = set()
    for number, container in enumerate(containers):
        for index, port in enumerate(container.ports):
            place = f"{port.protocol}/{port.hostIP}/{port.hostPort}"
            if port.hostPort and place in seen:
                yield errors.duplicate(f"{path}[{number}].ports[{index}].hostPort", place)
            seen.add(place)


def _mounts(path: str, container: Container | EphemeralContainer, volumes: set[str]) -> Findings:
    """Mounts of volumes that there are, each at a place of its own."""
    places = set()
    for number, mount in enumerate(container.volumeMounts):
        here = f"{path}[{number}]"
        if not mount.name:
            yield errors.required(f"{here}.name")
        if mount.name not in volumes:
            yield errors.not_found_value(f"{here}.name", mount.name)
        if not mount.mountPath:
            yield errors.required(f"{here}.mountPath")
        if mount.mountPath in places:
            yield errors.invalid(f"{here}.mountPath", mount.mountPath, "must be unique")
        places.add(mount.mountPath)
        yield from _sub_paths(path, here, mount, isinstance(container, EphemeralContainer))
        yield from one_of(f"{path}.mountPropagation", mount.mountPropagation, _PROPAGATIONS)
        context = container.securityContext
        if mount.mountPropagation == "Bidirectional" and not (context and context.privileged):
            text = "Bidirectional mount propagation is available only to privileged containers"
            yield errors.forbidden(f"{path}.mountPropagation", text)


def _sub_paths(path: str, here: str, mount: VolumeMount, ephemeral: bool) -> Findings:
    """A part of a volume stays inside of it. Paths without an index are Kubernetes' own."""
    for name in ("subPath", "subPathExpr"):
        value = getattr(mount, name)
        if value:
            yield from relative_path(f"{path}.{name}", value)
            if ephemeral:
                text = "cannot be set for an Ephemeral Container"
                yield errors.forbidden(f"{here}.{name}", text)
    if mount.subPath and mount.subPathExpr:
        text = "subPathExpr and subPath are mutually exclusive"
        yield errors.invalid(f"{here}.subPathExpr", mount.subPathExpr, text)


def _devices(path: str, devices: tuple[VolumeDevice, ...], volumes: set[str]) -> Findings:
    for number, device in enumerate(devices):
        here = f"{path}[{number}]"
        if not device.name:
            yield errors.required(f"{here}.name")
        if device.name not in volumes:
            yield errors.not_found_value(f"{here}.name", device.name)
        if not device.devicePath:
            yield errors.required(f"{here}.devicePath")
        yield from no_backsteps(f"{here}.devicePath", device.devicePath)


def _security_context(path: str, context: SecurityContext) -> Findings:
    yield from between(f"{path}.runAsUser", context.runAsUser, 0, INT32_MAX)
    yield from between(f"{path}.runAsGroup", context.runAsGroup, 0, INT32_MAX)
    yield from one_of(f"{path}.procMount", context.procMount, ("Default", "Unmasked"))
    yield from seccomp(f"{path}.seccompProfile", context.seccompProfile)
    if context.allowPrivilegeEscalation is False:
        text = "cannot set `allowPrivilegeEscalation` to false and "
        if context.privileged:
            yield errors.invalid(path, context, text + "`privileged` to true")
        if context.capabilities and "CAP_SYS_ADMIN" in context.capabilities.add:
            yield errors.invalid(path, context, text + "`capabilities.Add` CAP_SYS_ADMIN")
