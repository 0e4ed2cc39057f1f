"""YAML in and out, as the plain values of JSON: no aliases, no dates, no surprises in size.

Read in one pass over the parser's events, with a stack of our own. Scalars and keys are read as
sigs.k8s.io/yaml reads them: see tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from common.api import errors
from common.api.codec import tolerance

SIZE_MAX_BYTES = 1 << 20
DEPTH_MAX = 100
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_VERSION = (1, 1)


def decode(data: bytes) -> Any:
    """Plain values of a YAML document. Raises StatusError 400 or 413."""
    return decode_request(data)[0]


def decode_request(data: bytes) -> tuple[Any, list[str]]:
    """(plain values of a document, `line 2: key "a" already set in map` for such keys).

    Raises StatusError 400 or 413.
    """
    documents, findings = _decode(data)
    if len(documents) > 1:
        raise _refused("expected a single document in the stream")
    return (documents[0] if documents else None), findings


def decode_all(data: bytes) -> list[Any]:
    """Plain values of every document of a file, empty ones left out; raises like decode."""
    return [document for document in _decode(data)[0] if document is not None]


def encode(plain: Any) -> bytes:
    """Plain values in block style, keys in their order; takes half a second for a megabyte.

    Event by event, without PyYAML's graph of nodes: the garbage collector would walk all of it
    again and again, for up to 80 ms in which no other thread has a turn.
    """
    pieces = _Pieces()
    out: Any = pieces
    dumper = yaml.CSafeDumper(out, encoding="utf-8", allow_unicode=True)
    dumper.emit(yaml.StreamStartEvent(encoding="utf-8"))
    dumper.emit(yaml.DocumentStartEvent(explicit=False))
    _emit(dumper, plain)
    dumper.emit(yaml.DocumentEndEvent(explicit=False))
    dumper.emit(yaml.StreamEndEvent())
    return b"".join(pieces.made)


class _Pieces:
    """Takes what a dumper writes."""

    def __init__(self) -> None:
        self.made: list[bytes] = []

    def write(self, piece: bytes) -> None:
        """Take a piece."""
        self.made.append(piece)


def _emit(dumper: yaml.CSafeDumper, value: Any) -> None:
    if isinstance(value, dict):
        dumper.emit(_OBJECT)
        for key, member in value.items():
            dumper.emit(_scalar(dumper, key))
            _emit(dumper, member)
        dumper.emit(_OBJECT_END)
    elif isinstance(value, list):
        dumper.emit(_LIST)
        for item in value:
            _emit(dumper, item)
        dumper.emit(_LIST_END)
    else:
        dumper.emit(_scalar(dumper, value))


_OBJECT = yaml.MappingStartEvent(None, f"{_TAG}map", True, flow_style=False)
_OBJECT_END = yaml.MappingEndEvent()
_LIST = yaml.SequenceStartEvent(None, f"{_TAG}seq", True, flow_style=False)
_LIST_END = yaml.SequenceEndEvent()


def _scalar(dumper: yaml.CSafeDumper, value: Any) -> yaml.ScalarEvent:
    """A scalar; a text that PyYAML or Go would read as another type (`1e3`) is quoted."""
    node: Any = dumper.represent_data(value)
    resolve: Any = dumper.resolve
    as_it_is = resolve(yaml.ScalarNode, node.value, (True, False)) == node.tag
    if isinstance(value, str):
        as_it_is = as_it_is and tolerance.yaml_scalar(value, None, plain=True) is value
    is_text = node.tag == f"{_TAG}str"
    return yaml.ScalarEvent(None, node.tag, (as_it_is, is_text), node.value, style=node.style)


def _refused(why: object) -> errors.StatusError:
    return errors.bad_request(f"error converting YAML to JSON: yaml: {why}")


def _decode(data: bytes) -> tuple[list[Any], list[str]]:
    """Every document, and the keys that objects have twice."""
    if len(data) > SIZE_MAX_BYTES:
        raise errors.too_large(f"YAML is limited to {SIZE_MAX_BYTES} bytes")
    builder = _Builder()
    try:
        for event in yaml.parse(data, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise _refused(f"{where}{error.problem}") from error
    except yaml.reader.ReaderError as error:
        raise _refused(error.reason) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _refused(error) from error
    return builder.documents, builder.findings


class _Level:
    """An object or a list that is not complete yet; of an object, the key that waits."""

    __slots__ = ("key", "line", "value", "waiting")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.key: Any = None
        self.line = 0
        self.waiting = False


class _Builder:
    """Makes values of events."""

    def __init__(self) -> None:
        self.documents: list[Any] = []
        self.findings: list[str] = []
        self._levels: list[_Level] = []

    def take(self, event: Any) -> None:
        """Take the next event; raises ValueError or StatusError for what is refused."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._open({})
        elif kind is yaml.SequenceStartEvent:
            self._open([])
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            self._add(self._levels.pop().value, event)
        elif kind is yaml.AliasEvent:
            raise errors.bad_request("YAML aliases are not accepted")
        elif kind is yaml.DocumentStartEvent and event.version not in (None, _VERSION):
            raise ValueError("found incompatible YAML document")

    def _open(self, value: Any) -> None:
        if len(self._levels) >= DEPTH_MAX:
            raise errors.too_deep()
        self._levels.append(_Level(value))

    def _scalar(self, event: Any) -> None:
        plain, tag = event.implicit[0], event.tag
        level = self._levels[-1] if self._levels else None
        if plain and event.value == _MERGE and level and self._wants_key(level):
            level.waiting, level.key, level.line = True, None, event.start_mark.line
            return
        self._add(tolerance.yaml_scalar(event.value, tag, plain=plain), event)

    @staticmethod
    def _wants_key(level: _Level) -> bool:
        return isinstance(level.value, dict) and not level.waiting

    def _add(self, value: Any, event: Any) -> None:
        """Put a complete value where it belongs."""
        if not self._levels:
            self.documents.append(value)
            return
        level = self._levels[-1]
        if isinstance(level.value, list):
            level.value.append(value)
        elif not level.waiting:
            if isinstance(value, dict | list):
                raise ValueError("invalid map key")
            level.key, level.line = tolerance.yaml_key(value), event.start_mark.line
            level.waiting = True
        else:
            level.waiting = False
            for key, member in _members(level.key, value):
                self._set(level, key, member)

    def _set(self, level: _Level, key: str, value: Any) -> None:
        if key in level.value and len(self.findings) < errors.FINDINGS_MAX:
            shown = key[:256]
            self.findings.append(f'line {level.line + 1}: key "{shown}" already set in map')
        level.value[key] = value


def _members(key: str | None, value: Any) -> Iterator[tuple[str, Any]]:
    """What a member adds to its object: itself, or for the key `<<` what it holds."""
    if key is not None:
        yield key, value
        return
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        raise ValueError("map merge requires map or sequence of maps as the value")
    for source in reversed(sources):
        yield from source.items()
