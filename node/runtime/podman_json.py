"""Podman's JSON: a container's specification in, its inspection out. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from node.runtime import base
from node.runtime.base import ContainerSpec, ContainerStatus, ImageStatus, Limits, Mount

_STATES: dict[str, base.State] = {
    "created": "created",
    "configured": "created",
    "initialized": "created",
    "running": "running",
    "stopping": "running",
    "paused": "running",
    "exited": "exited",
    "stopped": "exited",
}
LOG_MAX_BYTES = 10 << 20
"""Kubernetes' containerLogMaxSize. A full log is replaced by a new file of the same name."""
_NO_TIME = "0001-01-01T00:00:00Z"
_OBJECT_NAME = r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?"
_OURS = {
    base.LABEL_POD_UID: base.POD_UID,
    base.LABEL_POD_NAMESPACE: re.compile(_OBJECT_NAME),
    base.LABEL_POD_NAME: re.compile(_OBJECT_NAME),
    base.LABEL_CONTAINER: re.compile(_OBJECT_NAME),
    base.LABEL_ATTEMPT: re.compile(r"[0-9]{1,9}"),
}
"""What the labels of a container of ours hold; each becomes a part of a path."""


def container_body(spec: ContainerSpec) -> dict[str, Any]:
    """Podman's SpecGenerator for a container. Files of /etc are the sandbox's, never Podman's."""
    body: dict[str, Any] = {
        "name": spec.runtime_name,
        "image": spec.image,
        "env": dict(spec.env),
        "labels": spec.labels,
        "mounts": [_mount(mount) for mount in spec.mounts],
        "resource_limits": _limits(spec),
        "oom_score_adj": spec.oom_score_adj,
        "read_only_filesystem": spec.read_only_root,
        "privileged": spec.privileged,
        "cap_add": list(spec.capabilities_add),
        "cap_drop": list(spec.capabilities_drop),
        "no_new_privileges": spec.no_new_privileges,
        "stdin": spec.stdin,
        "terminal": spec.tty,
        "log_configuration": {
            "driver": "k8s-file",
            "path": spec.log_path,
            "size": LOG_MAX_BYTES,
        },
        "use_image_hosts": True,
        "use_image_resolve_conf": True,
        "image_volume_mode": "anonymous",
        "healthconfig": {"Test": ["NONE"]},
        "restart_policy": "no",
    }
    if spec.oci_runtime:
        body["oci_runtime"] = spec.oci_runtime
    if spec.seccomp_profile:
        body["seccomp_profile_path"] = spec.seccomp_profile
    body |= _namespaces(spec) | _process(spec)
    return body


def _namespaces(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "netns": _namespace(spec.netns_path),
        "ipcns": {"nsmode": "host"} if spec.host_ipc else _namespace(spec.ipcns_path),
        "utsns": _namespace(spec.utsns_path),
        "pidns": _pid_namespace(spec),
    }


def _pid_namespace(spec: ContainerSpec) -> dict[str, str]:
    if spec.host_pid:
        return {"nsmode": "host"}
    return _namespace(spec.pidns_path) if spec.pidns_path else {"nsmode": "private"}


def _namespace(path: str) -> dict[str, str]:
    """Join the namespace at a path; the machine's own without one."""
    return {"nsmode": "path", "value": path} if path else {"nsmode": "host"}


def _process(spec: ContainerSpec) -> dict[str, Any]:
    """What runs and as whom; what is left out is the image's. A command drops its arguments."""
    fields = {
        "entrypoint": list(spec.command),
        "command": list(spec.args),
        "work_dir": spec.working_dir,
        "create_working_dir": bool(spec.working_dir),
        "user": spec.user,
        "groups": list(spec.groups),
    }
    fields_set = {name: value for name, value in fields.items() if value}
    if spec.command:
        fields_set["command"] = list(spec.args)
    return fields_set


def _mount(mount: Mount) -> dict[str, Any]:
    access = "ro" if mount.read_only else "rw"
    return {
        "type": "bind",
        "source": mount.source,
        "destination": mount.target,
        "options": ["rbind", access, mount.propagation],
    }


def _limits(spec: ContainerSpec) -> dict[str, Any]:
    limits = Limits(
        memory_bytes=spec.memory_limit_bytes,
        cpu_shares=spec.cpu_shares,
        cpu_quota_us=spec.cpu_quota_us,
    )
    return {"pids": {"limit": spec.pids_limit}, **limits_body(limits)}


def limits_body(limits: Limits) -> dict[str, Any]:
    """Limits as the OCI's LinuxResources: without those that are 0, and without swap."""
    body: dict[str, Any] = {}
    if limits.memory_bytes:
        body["memory"] = {"limit": limits.memory_bytes, "swap": limits.memory_bytes}
    cpu: dict[str, int] = {}
    if limits.cpu_shares:
        cpu["shares"] = limits.cpu_shares
    if limits.cpu_quota_us:
        cpu |= {"quota": limits.cpu_quota_us, "period": base.PERIOD_US}
    if cpu:
        body["cpu"] = cpu
    return body


def is_ours(name: str, labels: Mapping[str, str]) -> bool:
    """Whether Wherry made a container: its labels are ours, and its name is the one they tell.

    Labels alone prove nothing: an image may have them, as one that is committed from a container
    of ours has. No image names a container.
    """
    if not all(form.fullmatch(labels.get(label, "")) for label, form in _OURS.items()):
        return False
    uid, container = labels[base.LABEL_POD_UID], labels[base.LABEL_CONTAINER]
    return name == base.runtime_name(uid, container, labels[base.LABEL_ATTEMPT])


def is_ours_listed(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of Podman's list is a container of ours."""
    return is_ours((entry.get("Names") or [""])[0], entry.get("Labels") or {})


def is_ours_inspected(found: Mapping[str, Any]) -> bool:
    """Whether an inspected container is ours."""
    return is_ours(found.get("Name", ""), (found.get("Config") or {}).get("Labels") or {})


def container_status(found: Mapping[str, Any]) -> ContainerStatus:
    """A container of ours from Podman's inspection of it."""
    state, labels = found["State"], found["Config"]["Labels"]
    log_config = (found.get("HostConfig") or {}).get("LogConfig") or {}
    status = ContainerStatus(
        id=found["Id"],
        pod_uid=labels[base.LABEL_POD_UID],
        pod_namespace=labels[base.LABEL_POD_NAMESPACE],
        pod_name=labels[base.LABEL_POD_NAME],
        name=labels[base.LABEL_CONTAINER],
        attempt=int(labels[base.LABEL_ATTEMPT]),
        state=_STATES.get(state.get("Status", ""), "unknown"),
        pid=int(state.get("Pid") or 0),
        started_at=_time(state.get("StartedAt")),
        finished_at=_time(state.get("FinishedAt")),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        image=str(found.get("ImageName") or ""),
        image_id=f"sha256:{found.get('Image', '')}",
        asked_image=labels.get(base.LABEL_IMAGE, ""),
        resources=labels.get(base.LABEL_RESOURCES, ""),
        stop_signal=_signal(found["Config"].get("StopSignal")),
        cgroup_path=str(state.get("CgroupPath") or ""),
        log_path=str(log_config.get("Path") or ""),
        layer_path=str(((found.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir") or ""),
    )
    return _lost(status) if status.state == "created" and status.started_at else status


def _lost(status: ContainerStatus) -> ContainerStatus:
    """A container that has run and is only "created" now: the machine was switched off under it.

    Podman has forgotten when and how it ended; 255 is what Kubernetes' runtimes say then.
    """
    return replace(status, state="exited", exit_code=255, finished_at="", lost=True)


def _signal(value: int | str | None) -> str:
    """A signal's name without SIG; Podman tells a number, and since version 5 a name."""
    text = str(value or "TERM").removeprefix("SIG")
    known = {str(one.value): one.name.removeprefix("SIG") for one in signal.Signals}
    return known.get(text, text)


def _time(text: str | None) -> str:
    """Podman writes Go's zero time where nothing has happened yet."""
    return "" if text in (None, _NO_TIME) else str(text)


def image_status(found: Mapping[str, Any]) -> ImageStatus:
    """An image from an entry of the list, or from its inspection."""
    names = [*(found.get("RepoTags") or ()), *(found.get("RepoDigests") or ())]
    user = str((found.get("Config") or {}).get("User", ""))
    return ImageStatus(f"sha256:{found['Id']}", names, int(found.get("Size") or 0), user)
