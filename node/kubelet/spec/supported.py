"""Which fields of a PodSpec this kubelet carries out. A field that it does not is never ignored:
the container waits, and says which field it is.

The check is generic: what is not known here, and is set to other than its zero, is unsupported.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from common.api.types.core_v1 import (
    Container,
    EmptyDirVolumeSource,
    EphemeralContainer,
    Pod,
    PodSpec,
    Volume,
)

POD = frozenset(
    {
        "volumes",
        "initContainers",
        "containers",
        "ephemeralContainers",
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "activeDeadlineSeconds",
        "nodeSelector",
        "serviceAccountName",
        "serviceAccount",
        "nodeName",
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "securityContext",
        "imagePullSecrets",
        "hostname",
        "hostnameOverride",
        "setHostnameAsFQDN",
        "subdomain",
        "affinity",
        "schedulerName",
        "tolerations",
        "hostAliases",
        "priorityClassName",
        "priority",
        "readinessGates",
        "preemptionPolicy",
        "topologySpreadConstraints",
        "schedulingGates",
        "dnsConfig",
        "overhead",
        "runtimeClassName",
    }
)
"""Members of the spec that are carried out here, or by the scheduler."""
POD_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "dnsPolicy": ("ClusterFirst", "Default", "None", "ClusterFirstWithHostNet"),
    "enableServiceLinks": (True, False),
    "automountServiceAccountToken": (True, False),
    "shareProcessNamespace": (False,),
    "hostUsers": (True,),
}
"""Members that are accepted with these values only."""
POD_SECURITY_DEFAULTS: dict[str, tuple[Any, ...]] = {"supplementalGroupsPolicy": ("Merge",)}
POD_SECURITY = frozenset(
    {
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "supplementalGroups",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "seccompProfile",
    }
)
CONTAINER = frozenset(
    {
        "name",
        "image",
        "command",
        "args",
        "workingDir",
        "ports",
        "envFrom",
        "env",
        "resources",
        "volumeMounts",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "imagePullPolicy",
        "securityContext",
        "stdin",
        "stdinOnce",
        "tty",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    }
)
EPHEMERAL = CONTAINER | {"targetContainerName"}
SECURITY = frozenset(
    {
        "capabilities",
        "privileged",
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "readOnlyRootFilesystem",
        "allowPrivilegeEscalation",
        "seccompProfile",
    }
)
SELINUX = "seLinuxOptions"
VOLUME = frozenset(
    {"name", "emptyDir", "hostPath", "configMap", "secret", "downwardAPI", "projected"}
)
MOUNT = frozenset({"name", "readOnly", "mountPath", "mountPropagation", "subPath", "subPathExpr"})
PROJECTIONS = frozenset({"configMap", "secret", "downwardAPI", "serviceAccountToken"})


class Findings(NamedTuple):
    """Fields that this kubelet does not support: of the pod, and by container."""

    pod: str = ""
    containers: tuple[tuple[str, str], ...] = ()

    def of(self, container: str) -> str:
        """Why a container cannot run, or the empty string."""
        return self.pod or dict(self.containers).get(container, "")


def findings(pod: Pod, *, selinux: bool = False) -> Findings:
    """What of a pod cannot be carried out. `selinux`: whether the machine has it; where it has not,
    labels are passed over, as Kubernetes does."""
    spec = pod.spec
    return Findings(
        _text("spec", _of_pod(spec, selinux)),
        tuple(
            (
                container.name,
                _text(f"spec.{kind}[{container.name}]", _of_container(container, selinux)),
            )
            for kind in ("initContainers", "containers", "ephemeralContainers")
            for container in getattr(spec, kind)
        ),
    )


def _text(path: str, fields: list[str]) -> str:
    if not fields:
        return ""
    named = ", ".join(f"{path}.{field}" for field in fields)
    return f"not supported by this kubelet yet: {named}"


def _set_members(value: msgspec.Struct) -> list[str]:
    """The members that are set to other than their zero."""
    zero = type(value)()
    return [name for name in value.__struct_fields__ if getattr(value, name) != getattr(zero, name)]


def _of_pod(spec: PodSpec, selinux: bool) -> list[str]:
    fields = []
    for name in _set_members(spec):
        if name in POD:
            continue
        if name in POD_DEFAULTS and getattr(spec, name) in POD_DEFAULTS[name]:
            continue
        if name == "os" and spec.os is not None and spec.os.name == "linux":
            continue
        fields.append(name)
    if spec.securityContext is not None:
        fields += [
            f"securityContext.{name}"
            for name in _set_members(spec.securityContext)
            if name not in (POD_SECURITY if selinux else {*POD_SECURITY, SELINUX})
            and getattr(spec.securityContext, name) not in POD_SECURITY_DEFAULTS.get(name, ())
        ]
    for volume in spec.volumes:
        fields += _of_volume(volume)
    return fields


def _of_volume(volume: Volume) -> list[str]:
    path = f"volumes[{volume.name}]"
    fields = [f"{path}.{name}" for name in _set_members(volume) if name not in VOLUME]
    if volume.projected is not None:
        for number, source in enumerate(volume.projected.sources):
            fields += [
                f"{path}.projected.sources[{number}].{name}"
                for name in _set_members(source)
                if name not in PROJECTIONS
            ]
    if volume.emptyDir is not None:
        fields += [f"{path}.emptyDir.{name}" for name in _of_empty_dir(volume.emptyDir)]
    return fields


def _of_empty_dir(source: EmptyDirVolumeSource) -> list[str]:
    return [] if source.medium in ("", "Memory") else ["medium"]


def _of_container(container: Container | EphemeralContainer, selinux: bool) -> list[str]:
    known = EPHEMERAL if isinstance(container, EphemeralContainer) else CONTAINER
    fields = [name for name in _set_members(container) if name not in known]
    if container.securityContext is not None:
        fields += [
            f"securityContext.{name}"
            for name in _set_members(container.securityContext)
            if name not in (SECURITY if selinux else {*SECURITY, SELINUX})
            and not _default_proc_mount(container, name)
        ]
    fields += [f"lifecycle.{name}" for name in _of_lifecycle(container)]
    for mount in container.volumeMounts:
        fields += [
            f"volumeMounts[{mount.name}].{name}"
            for name in _set_members(mount)
            if name not in MOUNT
        ]
    fields += [
        f"resources.limits[{name}]" for name in container.resources.limits if not _is_counted(name)
    ]
    return fields


def _is_counted(resource: str) -> bool:
    """Whether a limit is enforced here, or is of a device, which the scheduler alone counts."""
    is_device = "/" in resource and "kubernetes.io/" not in resource
    return resource in ("cpu", "memory", "ephemeral-storage") or is_device


def _default_proc_mount(container: Container | EphemeralContainer, name: str) -> bool:
    context = container.securityContext
    return name == "procMount" and context is not None and context.procMount == "Default"


def _of_lifecycle(container: Container | EphemeralContainer) -> list[str]:
    """A TCP handler has never done anything in Kubernetes either; it is named all the same."""
    lifecycle = container.lifecycle
    if lifecycle is None:
        return []
    fields = ["stopSignal"] if lifecycle.stopSignal else []
    for name, handler in (("postStart", lifecycle.postStart), ("preStop", lifecycle.preStop)):
        if handler is not None and handler.tcpSocket is not None:
            fields.append(f"{name}.tcpSocket")
    return fields
