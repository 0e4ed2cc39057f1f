"""What is accepted of a pod's volumes, and yet is hardly what its writer wants. Pure.

Source: k8s.io/kubernetes pkg/api/pod/warnings.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from common.api import quantity
from common.api.types.core_v1 import PersistentVolumeClaimSpec, Volume, VolumeProjection

OVERLAPS_MAX = 64
"""How many overlaps are looked for in a volume: more than anybody is told."""
GONE = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SPELLED = {"storageos": "storageOS"}


class _File(NamedTuple):
    """Where a volume puts a file, and what puts it there."""

    path: str
    source: str

    def __str__(self) -> str:
        return f'"{self.path}" ({self.source})' if self.source else f'"{self.path}"'


def volumes(path: str, given: Sequence[Volume]) -> Iterator[str]:
    """Kinds of storage that are no longer there, parts of bytes, files in each other's place."""
    for number, volume in enumerate(given):
        where = f"{path}[{number}]"
        yield from gone(where, volume)
        template = volume.ephemeral.volumeClaimTemplate if volume.ephemeral else None
        if template is not None:
            yield from claim(f"{where}.ephemeral.volumeClaimTemplate.spec", template.spec)
    for volume in given:
        yield from _overlaps(volume)


def gone(path: str, storage: msgspec.Struct) -> Iterator[str]:
    """Kinds of storage that Kubernetes no longer has."""
    for kind, text in GONE.items():
        if getattr(storage, kind, None) is not None:
            yield f"{path}.{_SPELLED.get(kind, kind)}: {text}"


def claim(path: str, spec: PersistentVolumeClaimSpec) -> Iterator[str]:
    """Sizes that are no whole number of bytes."""
    for name in ("requests", "limits"):
        amount = getattr(spec.resources, name).get("storage", "0")
        if quantity.parse(amount) % 1:
            text = f'fractional byte value "{amount}" is invalid, must be an integer'
            yield f"{path}.resources.{name}[storage]: {text}"


def _overlaps(volume: Volume) -> Iterator[str]:
    mapped: tuple[tuple[str, Any] | None, ...] = (
        (f'ConfigMap "{volume.configMap.name}"', volume.configMap) if volume.configMap else None,
        (f'Secret "{volume.secret.secretName}"', volume.secret) if volume.secret else None,
        ("DownwardAPI", volume.downwardAPI) if volume.downwardAPI else None,
    )
    for name, source in filter(None, mapped):
        files = [_File(item.path, "") for item in source.items]
        yield from _told(volume.name, name, files)
    if volume.projected is None:
        return
    files = []
    for projection in volume.projected.sources:
        projected = list(_projected(projection))
        if projection == VolumeProjection():
            yield f'volume "{volume.name}" (Projected) has no sources provided'
        files += projected
    yield from _told(volume.name, "Projected", files)


def _projected(source: VolumeProjection) -> Iterator[_File]:
    if source.configMap is not None:
        name = f'ConfigMap "{source.configMap.name}"'
        yield from (_File(item.path, name) for item in source.configMap.items)
    elif source.secret is not None:
        name = f'Secret "{source.secret.name}"'
        yield from (_File(item.path, name) for item in source.secret.items)
    elif source.downwardAPI is not None:
        yield from (_File(item.path, "DownwardAPI") for item in source.downwardAPI.items)
    elif source.serviceAccountToken is not None:
        yield _File(source.serviceAccountToken.path, "ServiceAccountToken")


def _told(volume: str, source: str, files: Iterable[_File]) -> Iterator[str]:
    trimmed = [file._replace(path=file.path.rstrip("/")) for file in files]
    for later, earlier in sorted(_pairs(trimmed)):
        both = f"{trimmed[later]} with {trimmed[earlier]}"
        yield f'volume "{volume}" ({source}): overlapping paths: {both}'


def _pairs(files: Sequence[_File]) -> Iterator[tuple[int, int]]:
    """(later, earlier) indices of files of which one is in the place, or in a folder, of the other.

    In the order of paths everything below a folder follows it at once.
    """
    above: list[tuple[str, int]] = []
    left = OVERLAPS_MAX
    for path, number in sorted((f"{file.path}/", n) for n, file in enumerate(files) if file.path):
        while above and not path.startswith(above[-1][0]):
            above.pop()
        for _, other in above:
            if left == 0:
                return
            left -= 1
            yield max(number, other), min(number, other)
        above.append((path, number))
