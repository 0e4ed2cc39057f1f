"""The runtime's specification of a container: limits, mounts, security. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.api import quantity
from common.api.podreferences import all_containers
from common.api.types.core_v1 import (
    Container,
    Pod,
    PodSecurityContext,
    SecurityContext,
    Volume,
    VolumeMount,
)
from node.kubelet.spec import texts
from node.kubelet.spec.env import Config, HostFacts, environment, expand, references
from node.kubelet.spec.limits import limits_of, resource_text
from node.kubelet.spec.texts import ConfigError
from node.runtime.base import UNCONFINED, ContainerSpec, ContainerStatus, Mount, SandboxStatus

HOST_SHM = "/dev/shm"  # noqa: S108 (the machine's, for who asks for it)
GUARANTEED_OOM_SCORE, BEST_EFFORT_OOM_SCORE = -997, 1000
DEFAULT_CAPABILITIES = ("NET_RAW", "MKNOD", "AUDIT_WRITE")
"""Kubernetes' runtimes give these beyond Podman's defaults."""
_PROPAGATION = {
    "": "rprivate",
    "None": "rprivate",
    "HostToContainer": "rslave",
    "Bidirectional": "rshared",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerContext:
    """What a container's specification depends on beside the pod."""

    config: Config
    host: HostFacts
    sandbox: SandboxStatus
    volume_path: Callable[[Volume], str]
    sub_paths: Mapping[int, str] = field(default_factory=dict)
    """Where what is mounted of a volume's inside is, by the number of the mount."""
    log_root: str
    seccomp_root: str
    """Where the profiles are that pods name by path."""
    termination_path: str
    image_user: str
    joins_pid: int = 0


def container_spec(
    pod: Pod, container: Container, attempt: int, around: ContainerContext
) -> ContainerSpec:
    """The specification of one attempt. Raises ConfigError when something is missing."""
    address = around.host.address if pod.spec.hostNetwork else around.sandbox.address
    variables = environment(pod, container, around.config, around.host, pod_address=address)
    place = f"spec.containers[{container.name}]"
    command = _words(f"{place}.command", container.command, variables)
    args = _words(f"{place}.args", container.args, variables)
    given_texts = (*command, *args, *variables, *variables.values())
    texts.check_total(f"{place}: command, args and env", given_texts)
    security = container.securityContext or SecurityContext()
    pod_security = pod.spec.securityContext or PodSecurityContext()
    limits = limits_of(container.resources)
    capabilities = security.capabilities
    drop = tuple(name.upper() for name in capabilities.drop) if capabilities else ()
    asked = tuple(name.upper() for name in capabilities.add) if capabilities else ()
    given = () if "ALL" in drop else [c for c in DEFAULT_CAPABILITIES if c not in drop]
    sandbox = around.sandbox
    return ContainerSpec(
        pod_uid=pod.metadata.uid,
        pod_namespace=pod.metadata.namespace,
        pod_name=pod.metadata.name,
        name=container.name,
        attempt=attempt,
        image=container.image,
        resources=resource_text(container.resources),
        command=command,
        args=args,
        env=variables,
        working_dir=texts.plain(f"{place}.workingDir", container.workingDir),
        user=_user(security, pod_security, around.image_user),
        groups=[str(group) for group in _groups(pod_security)],
        mounts=_mounts(pod, container, around),
        netns_path=sandbox.netns_path,
        ipcns_path=sandbox.ipcns_path,
        utsns_path=sandbox.utsns_path,
        pidns_path=f"/proc/{around.joins_pid}/ns/pid" if around.joins_pid else "",
        host_pid=pod.spec.hostPID,
        host_ipc=pod.spec.hostIPC,
        memory_limit_bytes=limits.memory_bytes,
        cpu_shares=limits.cpu_shares,
        cpu_quota_us=limits.cpu_quota_us,
        oom_score_adj=_oom_score_adj(pod, container, around.host.memory_bytes),
        read_only_root=bool(security.readOnlyRootFilesystem),
        privileged=bool(security.privileged),
        capabilities_add=tuple(dict.fromkeys((*given, *asked))),
        capabilities_drop=drop,
        no_new_privileges=security.allowPrivilegeEscalation is False,
        seccomp_profile=_seccomp(security, pod_security, around.seccomp_root),
        stdin=container.stdin,
        tty=container.tty,
        log_path=log_path(around.log_root, pod, container.name, attempt),
        oci_runtime=_oci_runtime(pod, around.config),
    )


def _oci_runtime(pod: Pod, config: Config) -> str:
    """The handler of the pod's RuntimeClass; Podman's own runtime for a pod without."""
    name = pod.spec.runtimeClassName
    if not name:
        return ""
    if config.runtime_class is None:
        raise ConfigError(f'RuntimeClass "{name}" not found')
    return config.runtime_class.handler


def _words(field: str, words: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """A command or its arguments, with $(NAME) expanded."""
    return [
        texts.argument(name, expand(word, variables, name))
        for number, word in enumerate(words)
        for name in (f"{field}[{number}]",)
    ]


def _seccomp(security: SecurityContext, pod: PodSecurityContext, root: str) -> str:
    """The file by which system calls are filtered; empty for Podman's own."""
    profile = security.seccompProfile or pod.seccompProfile
    if profile is None or profile.type == "RuntimeDefault":
        return ""
    if profile.type == "Unconfined":
        return UNCONFINED
    name = texts.plain("seccompProfile.localhostProfile", profile.localhostProfile or "")
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ConfigError(f"seccomp profile {name!r} must be a path below {root}")
    return f"{root}/{name}"


def log_path(root: str, pod: Pod, container: str, attempt: int) -> str:
    """Where an attempt's log is: the path that Kubernetes' own tools expect."""
    meta = pod.metadata
    return f"{root}/{meta.namespace}_{meta.name}_{meta.uid}/{container}/{attempt}.log"


def _oom_score_adj(pod: Pod, container: Container, capacity_bytes: int) -> int:
    """Whom the kernel kills first when the machine has no memory left: who has requested the least.

    Source: https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
    (node out of memory behavior).
    """
    if pod.status.qosClass == "Guaranteed":
        return GUARANTEED_OOM_SCORE
    if pod.status.qosClass == "BestEffort" or not capacity_bytes:
        return BEST_EFFORT_OOM_SCORE
    asked = _asked_bytes(container)
    sidecars = {one.name for one in pod.spec.initContainers if one.restartPolicy == "Always"}
    if container.name in sidecars:  # never before the app containers that it serves
        asked = max(asked, min(map(_asked_bytes, pod.spec.containers), default=0))
    score = BEST_EFFORT_OOM_SCORE - 1000 * asked // capacity_bytes
    return min(max(score, BEST_EFFORT_OOM_SCORE + GUARANTEED_OOM_SCORE), BEST_EFFORT_OOM_SCORE - 1)


def _asked_bytes(container: Container) -> int:
    """The memory that a container requests."""
    asked = container.resources.requests.get("memory")
    return quantity.whole(asked) if asked else 0


def _user(security: SecurityContext, pod: PodSecurityContext, image_user: str) -> str:
    """uid[:gid]; raises ConfigError when the container may not run as root but would."""
    uid = pod.runAsUser if security.runAsUser is None else security.runAsUser
    gid = pod.runAsGroup if security.runAsGroup is None else security.runAsGroup
    non_root = pod.runAsNonRoot if security.runAsNonRoot is None else security.runAsNonRoot
    if non_root:
        _check_non_root(uid, image_user)
    if uid is None:
        return image_user if gid is None else f"{image_user.split(':')[0] or '0'}:{gid}"
    return f"{uid}:{gid}" if gid is not None else str(uid)


def _groups(pod: PodSecurityContext) -> list[int]:
    """What a container's processes belong to beside their own group."""
    own = [] if pod.fsGroup is None else [pod.fsGroup]
    return list(dict.fromkeys((*pod.supplementalGroups, *own)))


def _check_non_root(uid: int | None, image_user: str) -> None:
    name = image_user.split(":")[0]
    if uid == 0:
        raise ConfigError("container's runAsUser breaks non-root policy")
    if uid is None and (name in ("", "root") or (name.isdigit() and int(name) == 0)):
        raise ConfigError("container has runAsNonRoot and image will run as root")
    if uid is None and not name.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify "
            "user is non-root"
        )


def _mounts(pod: Pod, container: Container, around: ContainerContext) -> list[Mount]:
    """The container's volumes, and the files that all containers of the pod share.

    What is mounted below another mount comes after it, or it would be hidden.
    """
    volumes = {volume.name: volume for volume in pod.spec.volumes}
    directory = around.sandbox.directory
    place = f"spec.containers[{container.name}]"
    message = container.terminationMessagePath or "/dev/termination-log"
    mounts = [
        Mount(f"{directory}/etc/hosts", "/etc/hosts"),
        Mount(f"{directory}/etc/hostname", "/etc/hostname"),
        Mount(f"{directory}/etc/resolv.conf", "/etc/resolv.conf"),
        Mount(HOST_SHM if pod.spec.hostIPC else f"{directory}/shm", "/dev/shm"),  # noqa: S108
        Mount(around.termination_path, texts.path(f"{place}.terminationMessagePath", message)),
    ]
    own = []
    for number, mount in enumerate(container.volumeMounts):
        name = f"{place}.volumeMounts[{mount.name}].mountPath"
        target = texts.path(name, mount.mountPath)
        made = _volume_mount(mount, volumes, target, around)
        own.append(replace(made, source=around.sub_paths.get(number, made.source)))
    taken = {posixpath.normpath(mount.target) for mount in own}
    mounts = [mount for mount in mounts if mount.target not in taken]
    return sorted([*mounts, *own], key=lambda mount: posixpath.normpath(mount.target).count("/"))


def sub_paths(pod: Pod, container: Container, around: ContainerContext) -> dict[int, str]:
    """What a container mounts of the inside of volumes: the path there, by the number of the mount.

    Raises ConfigError for a path that could lead out of the volume.
    """
    wanted = {
        number: mount.subPath or _expanded(mount, pod, container, around)
        for number, mount in enumerate(container.volumeMounts)
        if mount.subPath or mount.subPathExpr
    }
    for number, path in wanted.items():
        name = f"volumeMounts[{container.volumeMounts[number].name}].subPath"
        texts.plain(f"spec.containers[{container.name}].{name}", path)
        if path.startswith("/"):
            raise ConfigError(f"subPath {path!r} must be a relative path")
        if ".." in path.split("/"):
            raise ConfigError(f"subPath {path!r} must not contain '..'")
    return wanted


def _expanded(mount: VolumeMount, pod: Pod, container: Container, around: ContainerContext) -> str:
    address = around.host.address if pod.spec.hostNetwork else around.sandbox.address
    variables = environment(pod, container, around.config, around.host, pod_address=address)
    name = f"spec.containers[{container.name}].volumeMounts[{mount.name}].subPathExpr"
    if missing := [one for one in references(mount.subPathExpr) if one not in variables]:
        raise ConfigError(f"{name}: missing value for {missing[0]!r}")
    return expand(mount.subPathExpr, variables, name)


def _volume_mount(
    mount: VolumeMount, volumes: Mapping[str, Volume], target: str, around: ContainerContext
) -> Mount:
    volume = volumes.get(mount.name)
    if volume is None:
        raise ConfigError(f"volume {mount.name} not found")
    made = volume.emptyDir is None and volume.hostPath is None
    return Mount(
        around.volume_path(volume),
        target,
        read_only=mount.readOnly or made,
        propagation=_PROPAGATION.get(mount.mountPropagation or "", "rprivate"),
    )


def falls_back_to_log(pod: Pod, ended: ContainerStatus) -> bool:
    """Whether the end of its log is the termination message of a container that wrote none."""
    return ended.exit_code != 0 and any(
        container.terminationMessagePolicy == "FallbackToLogsOnError"
        for container in all_containers(pod.spec)
        if container.name == ended.name
    )
