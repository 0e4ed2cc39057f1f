"""One object in the watch cache: its JSON as clients get it, and the few fields that lists use."""

from collections.abc import Sequence
from dataclasses import dataclass
from sys import intern
from typing import Literal

import msgspec

from master.storage.store import KeyValue

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

_METADATA = b'"metadata":{'


class _Metadata(msgspec.Struct, gc=False):
    uid: str = ""
    labels: dict[str, str] | None = None


class _Object(msgspec.Struct, gc=False):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


_DECODER = msgspec.json.Decoder(_Object)


class Entry:
    """An object at one revision; never changes. `data` is shared by everyone who reads it."""

    __slots__ = ("_metadata", "create_revision", "data", "key", "name", "namespace", "revision")

    def __init__(
        self, key: str, data: bytes, revision: int, create_revision: int, path: Sequence[str]
    ) -> None:
        self.key = key
        self.data = data
        self.revision = revision
        self.create_revision = create_revision
        self.namespace = intern(path[0]) if len(path) > 1 else ""
        self.name = path[-1]
        self._metadata: _Metadata | None = None

    @property
    def uid(self) -> str:
        """metadata.uid."""
        return self._decoded().uid

    @property
    def labels(self) -> dict[str, str]:
        """metadata.labels; not to be changed."""
        return self._decoded().labels or {}

    def deleted_at(self, revision: int) -> "Entry":
        """The object as its deletion is told: its last state at the deletion's revision."""
        old, new = _version(self.revision), _version(revision)
        data = self.data.replace(_METADATA + old, _METADATA + new, 1)
        path = [self.namespace, self.name] if self.namespace else [self.name]
        return Entry(self.key, data, revision, self.create_revision, path)

    def _decoded(self) -> _Metadata:
        """Decoded on first use: most objects are only passed on."""
        if self._metadata is None:
            try:
                self._metadata = _DECODER.decode(self.data).metadata
            except msgspec.DecodeError:  # stored by something else: still an object with a key
                self._metadata = _Metadata()
        return self._metadata


@dataclass(slots=True, eq=False)
class CacheEvent:
    """What happened to an object; `previous` is None when it was added."""

    type: EventType
    entry: Entry
    previous: Entry | None


def make_entry(item: KeyValue, path: Sequence[str]) -> Entry:
    """The entry of a stored key; `path` is what follows the resource in the key."""
    data = with_resource_version(item.value, item.revision)
    return Entry(item.key, data, item.revision, item.create_revision, path)


def with_resource_version(value: bytes, revision: int) -> bytes:
    """A stored object with its revision, which is never a part of what is stored.

    Stored objects have their metadata before anything that could contain the same text.
    """
    at = value.find(_METADATA)
    if at < 0:
        return value
    start = at + len(_METADATA)
    version = _version(revision)
    if value[start : start + 1] == b"}":
        version = version[:-1]
    return value[:start] + version + value[start:]


def _version(revision: int) -> bytes:
    return b'"resourceVersion":"%d",' % revision
