"""Volumes of pods: emptyDir, hostPath, ConfigMap, Secret, downward API, projected.

Secrets, tokens and memory volumes live on tmpfs. Files from ConfigMaps and Secrets are published by
swapping a symbolic link (`..data`), so that a container never sees half an update.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from posixpath import join, normpath
from typing import NamedTuple

import msgspec

from common.api import quantity
from common.api.types.core_v1 import (
    Container,
    DownwardAPIVolumeFile,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    KeyToPath,
    Pod,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from node.files.beneath import made_beneath
from node.files.mounts import bind, mount_tmpfs
from node.files.removal import remove_tree
from node.files.usage import used_bytes
from node.kubelet.spec import env, texts
from node.kubelet.spec.env import Config, HostFacts
from node.kubelet.spec.texts import ConfigError
from node.kubelet.volumes import tokens

DEFAULT_MODE = 0o644
ROOT_MODE = 0o700
PRIVATE_MODE = 0o600
SUB_PATHS = "volume-subpaths"
"""The directory of a pod for what its containers mount of the inside of volumes."""
GROUP_DIRECTORY, GROUP_FILE = 0o2050, 0o440
"""What a pod's group may do with volumes that nobody writes to; new files get the group, too."""


class File(NamedTuple):
    """A file of a volume."""

    data: bytes
    mode: int
    owner: int | None = None
    """A user's id; the kubelet's own without one."""
    group: int | None = None


Files = dict[str, File]
"""By relative path."""


def version(pod: Pod, config: Config) -> str:
    """Changes when a volume's content must be written anew."""
    names = sorted(config.config_maps), sorted(config.secrets)
    revisions = [
        *(config.config_maps[name].metadata.resourceVersion for name in names[0]),
        *(config.secrets[name].metadata.resourceVersion for name in names[1]),
    ]
    meta = pod.metadata
    text = msgspec.json.encode([names, revisions, meta.labels, meta.annotations])
    return hashlib.sha256(text).hexdigest()


class Volumes:
    """Makes and removes the volumes of pods, below one directory. Blocking: runs in an Offload."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # Directories below are open to whoever containers run as; other users must not get there.
        root.mkdir(mode=ROOT_MODE, parents=True, exist_ok=True)
        root.chmod(ROOT_MODE)

    def path(self, pod_uid: str, volume: Volume) -> str:
        """Where a volume's content is on this machine."""
        if volume.hostPath is not None:
            return volume.hostPath.path
        return str(self._directory(pod_uid, volume.name))

    def _directory(self, pod_uid: str, name: str) -> Path:
        return self._root / pod_uid / "volumes" / name

    def used_bytes(self, pod_uid: str, name: str) -> int | None:
        """What a volume takes of the disk; None where that is not known."""
        return used_bytes(self._directory(pod_uid, name))

    def make(self, pod: Pod, config: Config, host: HostFacts, pod_address: str) -> None:
        """Make every volume of a pod, or bring it up to date, whatever becomes of the others.

        Raises ConfigError that names those that failed.
        """
        failed = []
        for volume in pod.spec.volumes:
            try:
                self._make(volume, pod, config, host, pod_address)
            except (ConfigError, OSError, ValueError) as error:
                failed.append(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}')
        if failed:
            raise ConfigError("; ".join(failed))

    def _make(
        self, volume: Volume, pod: Pod, config: Config, host: HostFacts, pod_address: str
    ) -> None:
        directory = Path(self.path(pod.metadata.uid, volume))
        if volume.hostPath is not None:
            texts.host_path(f"spec.volumes[{volume.name}].hostPath.path", volume.hostPath.path)
            _check_host_path(volume.hostPath)
        elif volume.emptyDir is not None:
            _make_empty(directory, volume.emptyDir, fs_group(pod))
        else:
            files = _content(volume, pod, config, host, pod_address)
            if (group := fs_group(pod)) is not None:
                files = {path: _of_group(file, group) for path, file in files.items()}
            _make_directory(directory, tmpfs=volume.configMap is None, size=0)
            publish(directory, files)
            taken = {path.split("/")[0] for path in files}
            for point in mounted_below(pod, volume.name):
                if point.parts[0] not in taken:
                    (directory / point).mkdir(parents=True, exist_ok=True)

    def make_sub_paths(
        self, pod: Pod, container: Container, wanted: Mapping[int, str]
    ) -> dict[int, str]:
        """Mount what is at paths inside of volumes where only we can change it, for a container
        that is about to be made; where each is, by the number of its mount.

        Directories that are missing are made. Raises OSError, and ConfigError for a path that leads
        out of its volume.
        """
        place = self._root / pod.metadata.uid / SUB_PATHS / container.name
        while not remove_tree(place):
            pass
        volumes = {volume.name: volume for volume in pod.spec.volumes}
        made = {}
        for number, path in wanted.items():
            name = container.volumeMounts[number].name
            if name not in volumes:
                raise ConfigError(f"volume {name} not found")
            target = place / str(number)
            _bind_inside(Path(self.path(pod.metadata.uid, volumes[name])), path, target)
            made[number] = str(target)
        return made

    def published(self, pod_uid: str, place: str) -> str:
        """What a volume has at `VOLUME/PATH`; '' when nothing is there."""
        name, _, path = place.partition("/")
        file = self._directory(pod_uid, name) / "..data" / path
        return file.read_text("ascii", "replace") if file.is_file() else ""

    def remove(self, pod_uid: str) -> bool:
        """Remove a pod's volumes; host paths are not ours and stay.

        Answers whether nothing is left: what is large takes several calls. Raises OSError.
        """
        own = self._root / pod_uid
        return remove_tree(own / SUB_PATHS) and remove_tree(own / "volumes")


def _bind_inside(volume: Path, path: str, target: Path) -> None:
    """Mount what is at a path inside of a volume at a place of ours."""
    try:
        source = made_beneath(volume, path)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ELOOP):
            raise
        raise ConfigError(f"subPath {path!r} leads out of its volume") from error
    try:
        target.parent.mkdir(mode=ROOT_MODE, parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(source).st_mode):
            target.mkdir()
        else:
            target.touch()
        bind(source, target)
    finally:
        os.close(source)


def mounted_below(pod: Pod, name: str) -> set[PurePosixPath]:
    """Where containers mount other volumes below a volume, relative to it. Pure.

    A volume that containers may not write to must have these places: nobody can make them later.
    """
    paths = set()
    for container in (*pod.spec.initContainers, *pod.spec.containers):
        targets = [
            (mount.name, PurePosixPath(normpath(join("/", mount.mountPath))))
            for mount in container.volumeMounts
        ]
        for top in [target for owner, target in targets if owner == name]:
            paths |= {point.relative_to(top) for _, point in targets if top in point.parents}
    return paths


def fs_group(pod: Pod) -> int | None:
    """The group to which a pod's volumes belong, if it asks for one."""
    security = pod.spec.securityContext
    return security.fsGroup if security is not None else None


def _of_group(file: File, group: int) -> File:
    """The same file for a group, which may read it."""
    return file._replace(mode=file.mode | GROUP_FILE, group=group)


def _make_empty(directory: Path, source: EmptyDirVolumeSource, group: int | None) -> None:
    """A directory that whoever the containers run as may write to, and change the mode of.

    What a group has is made by the kubelet and by containers of that group, so nothing below needs
    to be changed when the pod comes back: fsGroupChangePolicy makes no difference.
    """
    size = quantity.whole(source.sizeLimit) if source.sizeLimit else 0
    if _make_directory(directory, tmpfs=source.medium == "Memory", size=size):
        if group is not None:
            os.chown(directory, -1, group)
        directory.chmod(0o777 if group is None else 0o2777)


def _make_directory(directory: Path, *, tmpfs: bool, size: int) -> bool:
    """A directory, on tmpfs when its content may not reach a disk; answers whether it is new."""
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    if tmpfs and not directory.is_mount():
        mount_tmpfs(directory, "mode=0755" + (f",size={size}" if size else ""))
        made = True
    return made


def _check_host_path(source: HostPathVolumeSource) -> None:
    """Make or check what hostPath.type asks for. Raises ConfigError."""
    path, kind = Path(source.path), source.type or ""
    if not path.exists() and kind in ("", "DirectoryOrCreate"):
        path.mkdir(parents=True, mode=0o755)
    elif not path.exists() and kind == "FileOrCreate":
        path.touch(mode=0o644)
    checks = {
        "Directory": path.is_dir,
        "File": path.is_file,
        "Socket": path.is_socket,
        "CharDevice": path.is_char_device,
        "BlockDevice": path.is_block_device,
    }
    wanted = kind.removesuffix("OrCreate")
    if wanted and not (wanted in checks and checks[wanted]()):
        raise ConfigError(f"hostPath type check failed: {path} is not a {wanted}")


def _content(volume: Volume, pod: Pod, config: Config, host: HostFacts, pod_address: str) -> Files:
    """The files of a volume that is made from API objects. Raises ConfigError."""
    if volume.configMap is not None:
        source = volume.configMap
        mode = _mode(source.defaultMode)
        return _of_config_map(source.name, source.items, bool(source.optional), mode, config)
    if volume.secret is not None:
        secret = volume.secret
        mode = _mode(secret.defaultMode)
        return _of_secret(secret.secretName, secret.items, bool(secret.optional), mode, config)
    if volume.downwardAPI is not None:
        mode = _mode(volume.downwardAPI.defaultMode)
        return _of_pod(volume.downwardAPI.items, mode, pod, host, pod_address)
    files: Files = {}
    if volume.projected is not None:
        mode = _mode(volume.projected.defaultMode)
        for projection in volume.projected.sources:
            files |= _of_projection(projection, mode, pod, config, host, pod_address)
    return files


def _of_projection(
    source: VolumeProjection,
    mode: int,
    pod: Pod,
    config: Config,
    host: HostFacts,
    pod_address: str,
) -> Files:
    if source.configMap is not None:
        one = source.configMap
        return _of_config_map(one.name, one.items, bool(one.optional), mode, config)
    if source.secret is not None:
        two = source.secret
        return _of_secret(two.name, two.items, bool(two.optional), mode, config)
    if source.downwardAPI is not None:
        return _of_pod(source.downwardAPI.items, mode, pod, host, pod_address)
    if source.serviceAccountToken is not None:
        return _of_token(source.serviceAccountToken, mode, pod, config)
    return {}


def _of_token(source: ServiceAccountTokenProjection, mode: int, pod: Pod, config: Config) -> Files:
    """One user's own, when all containers run as the same."""
    owner = tokens.owner(pod)
    data = config.tokens[tokens.key_of(source)].encode()
    private = owner is not None or fs_group(pod) is not None
    return {_safe(source.path): File(data, PRIVATE_MODE if private else mode, owner)}


def _mode(mode: int | None) -> int:
    return DEFAULT_MODE if mode is None else mode


def _of_config_map(
    name: str, items: tuple[KeyToPath, ...], optional: bool, mode: int, config: Config
) -> Files:
    config_map = config.config_maps.get(name)
    if config_map is None:
        if optional:
            return {}
        raise ConfigError(f'configmap "{name}" not found')
    content = {key: text.encode() for key, text in config_map.data.items()} | config_map.binaryData
    return _chosen(content, items, optional, mode, f"configmap {name}")


def _of_secret(
    name: str, items: tuple[KeyToPath, ...], optional: bool, mode: int, config: Config
) -> Files:
    secret = config.secrets.get(name)
    if secret is None:
        if optional:
            return {}
        raise ConfigError(f'secret "{name}" not found')
    return _chosen(secret.data, items, optional, mode, f"secret {name}")


def _chosen(
    content: Mapping[str, bytes],
    items: tuple[KeyToPath, ...],
    optional: bool,
    mode: int,
    what: str,
) -> Files:
    """Every key as a file, or those that `items` names under the paths that it gives."""
    if not items:
        return {_safe(key): File(data, mode) for key, data in content.items()}
    files: Files = {}
    for item in items:
        if item.key not in content:
            if optional:
                continue
            raise ConfigError(f"{what} references non-existent config key: {item.key}")
        own = mode if item.mode is None else item.mode
        files[_safe(item.path)] = File(content[item.key], own)
    return files


def _of_pod(
    items: tuple[DownwardAPIVolumeFile, ...],
    mode: int,
    pod: Pod,
    host: HostFacts,
    pod_address: str,
) -> Files:
    """Files of the downward API."""
    files: Files = {}
    for item in items:
        text = ""
        if item.fieldRef is not None:
            text = env.pod_field(item.fieldRef, pod, host, pod_address)
        elif item.resourceFieldRef is not None:
            text = env.resource_field(item.resourceFieldRef, pod, pod.spec.containers[0], host)
        own = mode if item.mode is None else item.mode
        files[_safe(item.path)] = File(text.encode(), own)
    return files


def _safe(path: str) -> str:
    """A path that stays below its volume. Raises ConfigError for any other."""
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise ConfigError(f"invalid path in a volume: {path!r}")
    if parts[0].startswith(".."):
        raise ConfigError(f"a path in a volume must not start with '..': {path!r}")
    return path


def publish(directory: Path, files: Files) -> None:
    """Put `files` into a volume in one step: a new directory, and one swapped link to it."""
    text = msgspec.json.encode([(path, *file) for path, file in sorted(files.items())])
    target = directory / f"..{hashlib.sha256(text).hexdigest()[:16]}"
    link = directory / "..data"
    if not link.is_symlink() or link.readlink().name != target.name:
        _swap(link, target, files)
    _link_names(directory, {path.split("/")[0] for path in files})
    for entry in directory.iterdir():
        if entry.name.startswith("..") and entry not in (link, target):
            remove_tree(entry)


def _swap(link: Path, target: Path, files: Files) -> None:
    """Write the files where nobody sees them, and make the link point there."""
    remove_tree(target)
    target.mkdir(mode=0o755)
    for path, content in files.items():
        _write(target / path, content)
    group = next((file.group for file in files.values()), None)
    if group is not None:
        _give_directories(target, group)
    temporary = link.with_name("..data_tmp")
    remove_tree(temporary)
    temporary.symlink_to(target.name)
    if not link.is_symlink():
        remove_tree(link)
    temporary.rename(link)


def _give_directories(top: Path, group: int) -> None:
    """Directories that nobody else sees yet belong to a group."""
    for directory in (top, *(path for path in top.rglob("*") if path.is_dir())):
        os.chown(directory, -1, group)
        directory.chmod(stat.S_IMODE(directory.stat().st_mode) | GROUP_DIRECTORY)


def _write(path: Path, content: File) -> None:
    """Write one file below a directory that nobody else sees yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    mode = stat.S_IMODE(content.mode)
    descriptor = os.open(path, flags, mode)
    with os.fdopen(descriptor, "wb") as opened:
        own = [-1 if one is None else one for one in (content.owner, content.group)]
        os.fchown(opened.fileno(), *own)
        os.fchmod(opened.fileno(), mode)
        opened.write(content.data)


def _link_names(directory: Path, names: set[str]) -> None:
    """Make the visible names links through ..data, and remove those that are gone."""
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        visible, wanted = directory / name, f"..data/{name}"
        if not visible.is_symlink() or str(visible.readlink()) != wanted:
            remove_tree(visible)
            visible.symlink_to(wanted)
