"""Rules for the volumes of pods. Source: pkg/apis/core/validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.api import errors, names, quantity
from common.api.types.core_v1 import (
    DownwardAPIVolumeFile,
    KeyToPath,
    ProjectedVolumeSource,
    SeccompProfile,
    Volume,
    VolumeProjection,
)
from master.apiserver.resources.core.pod.container.env import field_ref, resource_field_ref
from master.apiserver.resources.lib.checks import Findings, named, one_of

FILE_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.labels",
    "metadata.annotations",
    "metadata.uid",
)
_HOST_PATH_TYPES = (
    "",
    "DirectoryOrCreate",
    "Directory",
    "FileOrCreate",
    "File",
    "Socket",
    "CharDevice",
    "BlockDevice",
)
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_TOKEN_MIN_SECONDS = 600
_TOKEN_MAX_SECONDS = 1 << 32


def validate_volumes(path: str, volumes: tuple[Volume, ...]) -> Findings:
    """Named volumes of one source each."""
    seen = set()
    for number, volume in enumerate(volumes):
        here = f"{path}[{number}]"
        yield from _source(here, volume)
        if not volume.name:
            yield errors.required(f"{here}.name")
        else:
            yield from named(f"{here}.name", volume.name, names.dns_label)
        if volume.name in seen:
            yield errors.duplicate(f"{here}.name", volume.name)
        seen.add(volume.name)


def _source(path: str, volume: Volume) -> Findings:
    given = [
        name
        for name in volume.__struct_fields__
        if name != "name" and getattr(volume, name) is not None
    ]
    for name in given[1:]:
        yield errors.forbidden(f"{path}.{name}", "may not specify more than 1 volume type")
    if not given:
        yield errors.required(path, "must specify a volume type")
    else:
        yield from validate_source(f"{path}.{given[0]}", given[0], getattr(volume, given[0]))


def validate_source(path: str, kind: str, source: Any) -> Findings:
    """What pods and persistent volumes may say of a kind of storage that both can have."""
    if kind in _RULES:
        yield from _RULES[kind](path, source)


def _empty_dir(path: str, source: Any) -> Findings:
    if source.sizeLimit is not None and quantity.parse(source.sizeLimit) < 0:
        text = "SizeLimit field must be a valid resource quantity"
        yield errors.forbidden(f"{path}.sizeLimit", text)


def _host_path(path: str, source: Any) -> Findings:
    if not source.path:
        yield errors.required(f"{path}.path")
        return
    yield from no_backsteps(f"{path}.path", source.path)
    if source.type is not None and source.type not in _HOST_PATH_TYPES:
        yield errors.not_supported(f"{path}.type", source.type, sorted(_HOST_PATH_TYPES))


def _secret(path: str, source: Any) -> Findings:
    if not source.secretName:
        yield errors.required(f"{path}.secretName")
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    yield from _items(f"{path}.items", source.items)


def _config_map(path: str, source: Any) -> Findings:
    if not source.name:
        yield errors.required(f"{path}.name")
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    yield from _items(f"{path}.items", source.items)


def _downward(path: str, source: Any) -> Findings:
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    for file in source.items:
        yield from _file(path, file)


def _claim(path: str, source: Any) -> Findings:
    if not source.claimName:
        yield errors.required(f"{path}.claimName")


def _nfs(path: str, source: Any) -> Findings:
    if not source.server:
        yield errors.required(f"{path}.server")
    if not source.path:
        yield errors.required(f"{path}.path")
    elif not source.path.startswith("/"):
        yield errors.invalid(f"{path}.path", source.path, "must be an absolute path")


def _projected(path: str, source: ProjectedVolumeSource) -> Findings:
    yield from _mode(f"{path}.defaultMode", source.defaultMode)
    seen: set[str] = set()
    for number, part in enumerate(source.sources):
        here = f"{path}.sources[{number}]"
        given = [name for name in part.__struct_fields__ if getattr(part, name) is not None]
        yield from _projection(here, path, part)
        for file in _paths(part):
            if file in seen:
                yield errors.invalid(path, file, "conflicting duplicate paths")
            seen.add(file)
        if len(given) > 1:
            text = "may not specify more than 1 volume type per source"
            yield errors.forbidden(here, text)


def _projection(path: str, volume_path: str, part: VolumeProjection) -> Findings:
    for name in ("secret", "configMap"):
        reference = getattr(part, name)
        if reference is not None:
            if not reference.name:
                yield errors.required(f"{path}.{name}.name")
            yield from _items(f"{path}.{name}.items", reference.items)
    if part.downwardAPI is not None:
        for file in part.downwardAPI.items:
            yield from _file(f"{path}.downwardAPI", file)
    token = part.serviceAccountToken
    if token is not None:
        seconds, where = token.expirationSeconds or 0, f"{path}.serviceAccountToken"
        if seconds < _TOKEN_MIN_SECONDS:
            text = "may not specify a duration less than 10 minutes"
            yield errors.invalid(f"{where}.expirationSeconds", seconds, text)
        if seconds > _TOKEN_MAX_SECONDS:
            text = "may not specify a duration larger than 2^32 seconds"
            yield errors.invalid(f"{where}.expirationSeconds", seconds, text)
        if not token.path:
            yield errors.required(f"{volume_path}.path")
        else:
            yield from file_path(f"{volume_path}.path", token.path)


def _paths(part: VolumeProjection) -> list[str]:
    """The files that a source of a projected volume names."""
    paths = []
    for holder in (part.secret, part.configMap, part.downwardAPI):
        paths += [item.path for item in holder.items if item.path] if holder is not None else []
    return paths


def _items(path: str, items: tuple[KeyToPath, ...]) -> Findings:
    for number, item in enumerate(items):
        here = f"{path}[{number}]"
        if not item.key:
            yield errors.required(f"{here}.key")
        if not item.path:
            yield errors.required(f"{here}.path")
        yield from file_path(f"{here}.path", item.path)
        yield from _mode(f"{here}.mode", item.mode)


def _file(path: str, file: DownwardAPIVolumeFile) -> Findings:
    if not file.path:
        yield errors.required(f"{path}.path")
    yield from file_path(f"{path}.path", file.path)
    if file.fieldRef is not None:
        yield from field_ref(f"{path}.fieldRef", file.fieldRef, FILE_FIELDS)
        if file.resourceFieldRef is not None:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield errors.invalid(path, "resource", text)
    elif file.resourceFieldRef is not None:
        here = f"{path}.resourceFieldRef"
        yield from resource_field_ref(here, file.resourceFieldRef, container_required=True)
    else:
        yield errors.required(path, "one of fieldRef and resourceFieldRef is required")
    yield from _mode(f"{path}.mode", file.mode)


def _mode(path: str, mode: int | None) -> Findings:
    if mode is not None and not 0 <= mode <= 0o777:
        yield errors.invalid(path, mode, _MODE)


def file_path(path: str, value: str) -> Findings:
    """A file of a volume: inside of it, and none that a node keeps for itself."""
    yield from relative_path(path, value)
    if value.startswith("..") and not value.startswith("../"):
        yield errors.invalid(path, value, "must not start with '..'")


def relative_path(path: str, value: str) -> Findings:
    """A path below something."""
    if value.startswith("/"):
        yield errors.invalid(path, value, "must be a relative path")
    yield from no_backsteps(path, value)


def no_backsteps(path: str, value: str) -> Findings:
    """A path that never leaves where it starts."""
    if ".." in value.split("/"):
        yield errors.invalid(path, value, "must not contain '..'")


def seccomp(path: str, profile: SeccompProfile | None) -> Findings:
    """A seccomp profile, if it is set; a local one is a file of the node."""
    if profile is None:
        return
    yield from one_of(f"{path}.type", profile.type, ("Localhost", "RuntimeDefault", "Unconfined"))
    where = f"{path}.localhostProfile"
    if profile.type == "Localhost":
        if profile.localhostProfile is None:
            yield errors.required(where, "must be set when seccomp type is Localhost")
        else:
            yield from relative_path(where, profile.localhostProfile)
    elif profile.localhostProfile is not None:
        yield errors.invalid(where, profile, "can only be set when seccomp type is Localhost")


def seccomp_annotations(path: str, annotations: Mapping[str, str]) -> Findings:
    """The profiles of before there was a field; nothing follows them any more."""
    for key, profile in annotations.items():
        if key != SECCOMP_POD and not key.startswith(SECCOMP_CONTAINER):
            continue
        if profile.startswith("localhost/"):
            yield from relative_path(f"{path}.{key}", profile.removeprefix("localhost/"))
        elif profile not in ("runtime/default", "docker/default", "unconfined"):
            yield errors.invalid(f"{path}.{key}", profile, "must be a valid seccomp profile")


_RULES = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "persistentVolumeClaim": _claim,
    "nfs": _nfs,
    "projected": _projected,
}
