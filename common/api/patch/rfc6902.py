"""JSON patch, as the library that Kubernetes uses for it takes it.

It is more generous than RFC 6902: negative indices count from the end, `replace` sets a member
that is not there, `copy` of a member that is not there makes null, and so does a missing value.
Sources: RFC 6902; github.com/evanphx/json-patch v4 with the limits of k8s.io/apiserver.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from common.api import errors

OPERATIONS_MAX = 10_000
RESULT_MAX_BYTES = 3 << 20
"""How much the `copy` operations of one patch may add together."""
SHIFTS_MAX = 50_000_000
"""How many items of lists the operations of one patch may move aside together."""
_INDEX = re.compile(r"[+-]?[0-9]{1,9}")
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def json_patch(target: Any, operations: Any) -> Any:
    """Apply the operations one after the other.

    Raises StatusError: 400 for what is no patch, 413 for more than 10 000 operations, 422 for an
    operation or a `test` that fails and for copies that add up to more than 3 MiB.
    """
    check_operations(operations)
    try:
        run = _Run(_decode(_encode(target)))
        for operation in operations or ():
            run.apply(operation or {})
    except RecursionError as error:
        raise errors.too_deep() from error
    return run.document


def check_operations(operations: Any) -> None:
    """Refuse what does not have the form of a patch; raises StatusError 400 or 413."""
    if operations is None:
        return
    if not isinstance(operations, list):
        raise errors.bad_request("error decoding patch: a JSON patch is an array of operations")
    if len(operations) > OPERATIONS_MAX:
        raise errors.too_large(
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, "
            f"got {len(operations)}"
        )
    for number, operation in enumerate(operations):
        if not isinstance(operation, dict | None):
            raise errors.bad_request(f"error decoding patch: operation {number} is not an object")
        for name in ("op", "path", "from"):
            if not isinstance(operation and operation.get(name), str | None):
                raise errors.bad_request(
                    f"error decoding patch: {name} of operation {number} is not a string"
                )


def _failed(why: str) -> errors.StatusError:
    text = "the server rejected our request due to an error in our request"
    return errors.unprocessable(f"{text}: {why[:1024]}")


class _Run:
    """A document of our own, and what the operations have cost so far."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self._copied_bytes = 0
        self._shifted = 0

    def apply(self, operation: dict[str, Any]) -> None:
        """Carry out one operation."""
        match operation.get("op"):
            case "add":
                self._add("add", _path(operation, "path"), _value(operation))
            case "remove":
                self._remove("remove", _path(operation, "path"))
            case "replace":
                self._replace(_path(operation, "path"), _value(operation))
            case "move":
                origin, path = _path(operation, "from"), _path(operation, "path")
                value = self._get("move", origin)
                self._remove("move", origin)
                self._add("move", path, value)
            case "copy":
                value = self._get("copy", _path(operation, "from"))
                self._add("copy", _path(operation, "path"), self._copy(value))
            case "test":
                self._test(_path(operation, "path"), operation.get("value"))
            case kind:
                raise _failed(f"Unexpected kind: {kind or 'unknown'}")

    def _copy(self, value: Any) -> Any:
        """A value of its own, if that is still within bounds."""
        data = _encode(value)
        self._copied_bytes += len(data)
        if self._copied_bytes > RESULT_MAX_BYTES:
            raise _failed(
                "Unable to complete the copy, the accumulated size increase of copy is "
                f"{self._copied_bytes}, exceeding the limit {RESULT_MAX_BYTES}"
            )
        return _decode(data)

    def _parent(self, kind: str, path: str) -> tuple[Any, str]:
        """The object or list that the last part of a path is in, and that part."""
        parts = path.split("/")
        parent = self.document if len(parts) > 1 else None
        for part in parts[1:-1]:
            if isinstance(parent, dict):
                parent = parent.get(_unescaped(part))
            elif isinstance(parent, list):
                index = _index(part, len(parent))
                parent = None if index is None else parent[index]
            else:
                break
        if not isinstance(parent, dict | list):
            raise _failed(f'{kind} operation does not apply: doc is missing path: "{path}"')
        return parent, _unescaped(parts[-1])

    def _get(self, kind: str, path: str) -> Any:
        """A member, None if an object does not have it; items of lists must be there."""
        parent, part = self._parent(kind, path)
        if isinstance(parent, dict):
            return parent.get(part)
        return parent[_index_at(parent, part, kind, path, len(parent))]

    def _add(self, kind: str, path: str, value: Any) -> None:
        parent, part = self._parent(kind, path)
        if isinstance(parent, dict):
            parent[part] = value
        elif part == "-":
            parent.append(value)
        else:
            index = _index_at(parent, part, kind, path, len(parent) + 1)
            self._shift(len(parent) - index)
            parent.insert(index, value)

    def _remove(self, kind: str, path: str) -> None:
        parent, part = self._parent(kind, path)
        if isinstance(parent, list):
            index = _index_at(parent, part, kind, path, len(parent))
            self._shift(len(parent) - index)
            del parent[index]
        elif part in parent:
            del parent[part]
        else:
            raise _failed(f"error in {kind} for path: '{path}': nonexistent key: {part}")

    def _replace(self, path: str, value: Any) -> None:
        if path == "":
            if not isinstance(value, dict | list):
                raise _failed("replace operation value must be object or array")
            self.document = value
            return
        parent, part = self._parent("replace", path)
        if isinstance(parent, dict):
            parent[part] = value
        else:
            parent[_index_at(parent, part, "replace", path, len(parent))] = value

    def _test(self, path: str, value: Any) -> None:
        actual = self.document if path == "" else self._get("test", path)
        if not _equal(actual, value):
            raise _failed(f"testing value {path} failed: test failed")

    def _shift(self, items: int) -> None:
        self._shifted += items
        if self._shifted > SHIFTS_MAX:
            raise errors.too_large("the JSON patch moves too many items of lists")


def _path(operation: dict[str, Any], name: str) -> str:
    text = operation.get(name)
    if text is None:
        raise _failed(f"{operation['op']} operation failed to decode {name}: missing value")
    return str(text)


def _value(operation: dict[str, Any]) -> Any:
    """The value of an operation, for the document to own: a patch may be applied again."""
    value = operation.get("value")
    return _decode(_encode(value)) if isinstance(value, dict | list) else value


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _index(part: str, end: int) -> int | None:
    """An index below `end`, which negative ones count from."""
    if not _INDEX.fullmatch(part):
        return None
    index = int(part)
    if index < 0:
        index += end
    return index if 0 <= index < end else None


def _index_at(items: list[Any], part: str, kind: str, path: str, end: int) -> int:
    """An index for an operation on a list; raises StatusError 422."""
    index = _index(part, end)
    if index is None:
        raise _failed(f"error in {kind} for path: '{path}': invalid index referenced: {part}")
    return index


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON, where true is not 1; ends at the first difference."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            key in other and _equal(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
