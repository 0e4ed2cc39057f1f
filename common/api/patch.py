"""Patches on plain JSON values: JSON patch, merge patch, strategic merge patch.

Inputs are never changed. Every function raises StatusError in Kubernetes' words.
Sources: RFC 6902, RFC 7386, and "Strategic Merge Patch" of kubernetes/community.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from common.api import errors
from common.api.schema import Field, Message

OPERATIONS_MAX = 10_000
RESULT_MAX_BYTES = 3 << 20
_DIRECTIVE = "$patch"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: members replace, null removes."""
    try:
        return _merged(target, patch)
    except RecursionError as error:
        raise _too_deep() from error


def _too_deep() -> errors.StatusError:
    return errors.bad_request("the body is nested too deeply")


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902. A failing operation or `test` is 422; more than 10 000 operations are 413."""
    if not isinstance(operations, list):
        raise errors.bad_request("error decoding patch: a JSON patch is an array of operations")
    if len(operations) > OPERATIONS_MAX:
        raise errors.too_large(
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, "
            f"got {len(operations)}"
        )
    try:
        return _run(copy.deepcopy(target), operations)
    except RecursionError as error:
        raise _too_deep() from error


def _run(document: Any, operations: list[Any]) -> Any:
    """Apply operations one after the other; the document must not grow beyond bounds."""
    size = len(msgspec.json.encode(document))
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise errors.bad_request("error decoding patch: an operation is an object with a path")
        document, added = _apply(document, operation)
        size += added
        if size > RESULT_MAX_BYTES:
            raise errors.too_large("the patch makes the object larger than 3145728 bytes")
    return document


def _apply(document: Any, operation: dict[str, Any]) -> tuple[Any, int]:
    """(document after one operation, bytes that it may have added)."""
    kind, path = operation.get("op"), _pointer(operation["path"])
    match kind:
        case "test":
            if not _equal(_look_up(document, path), operation.get("value")):
                raise errors.unprocessable(
                    f"the server rejected our request due to an error in our request: "
                    f"testing path {operation['path']} failed"
                )
            return document, 0
        case "remove":
            return _remove(document, path), 0
        case "add" | "replace":
            if "value" not in operation:
                raise errors.unprocessable(f"jsonpatch {kind} operation has no value")
            value = copy.deepcopy(operation["value"])
            if kind == "replace":
                _look_up(document, path)
                document = _remove(document, path) if path else document
            return _add(document, path, value), len(msgspec.json.encode(value))
        case "copy" | "move":
            origin = _pointer(str(operation.get("from", "")))
            value = copy.deepcopy(_look_up(document, origin))
            if kind == "move":
                document = _remove(document, origin)
            return _add(document, path, value), len(msgspec.json.encode(value))
    raise errors.unprocessable(f"Unexpected kind: {kind}")


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON, where true is not 1."""
    encoded = (msgspec.json.encode(value, order="sorted") for value in (one, other))
    return next(encoded) == next(encoded)


def _pointer(text: str) -> list[str]:
    """The reference tokens of a JSON pointer."""
    if text and not text.startswith("/"):
        raise errors.unprocessable(f"invalid JSON pointer: {text}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _missing(path: list[str]) -> errors.StatusError:
    return errors.unprocessable(
        "the server rejected our request due to an error in our request: "
        f"doc is missing path: /{'/'.join(path)}"
    )


def _index(items: list[Any], token: str, path: list[str], *, end: int) -> int:
    """A list index of a pointer, below `end`."""
    if token.isascii() and token.isdigit() and len(token) < 10 and int(token) < end:
        return int(token)
    raise _missing(path)


def _look_up(document: Any, path: list[str]) -> Any:
    for token in path:
        if isinstance(document, dict) and token in document:
            document = document[token]
        elif isinstance(document, list):
            document = document[_index(document, token, path, end=len(document))]
        else:
            raise _missing(path)
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _look_up(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        end = len(parent)
        parent.insert(end if last == "-" else _index(parent, last, path, end=end + 1), value)
    else:
        raise _missing(path)
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise errors.unprocessable("the whole document cannot be removed")
    parent, last = _look_up(document, path[:-1]), path[-1]
    if isinstance(parent, dict) and last in parent:
        del parent[last]
    elif isinstance(parent, list):
        del parent[_index(parent, last, path, end=len(parent))]
    else:
        raise _missing(path)
    return document


def strategic(target: Any, patch: Any, message: Message) -> dict[str, Any]:
    """Strategic merge patch of an object of type `message`."""
    if not isinstance(patch, dict):
        raise errors.bad_request("error decoding patch: a strategic merge patch is an object")
    base = target if isinstance(target, dict) else {}
    try:
        result: dict[str, Any] = _merge_object(base, patch, message)
    except RecursionError as error:
        raise _too_deep() from error
    return result


def _merge_object(target: dict[str, Any], patch: dict[str, Any], message: Message | None) -> Any:
    """Merge two objects; `message` is None below maps and opaque values."""
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise errors.bad_request(f'unknown patch type "{directive}" found')
    result = dict(target)
    if _RETAIN in patch:
        kept = patch[_RETAIN] or []
        if not isinstance(kept, list):
            raise errors.bad_request(f"{_RETAIN} must be a list of names")
        result = {k: v for k, v in result.items() if k in kept}
    for key, value in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith((_ORDER, _DELETE)):
            continue
        field = message.fields.get(key) if message else None
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _merge_member(result.get(key), value, field)
        elif isinstance(value, list) and _merges(field):
            result[key] = _merge_list(result.get(key) or [], value, field, patch)
        else:
            result[key] = value
    _finish_lists(result, patch, message)
    return result


def _merge_member(old: Any, patch: dict[str, Any], field: Field | None) -> Any:
    """Merge a member whose patch is an object."""
    if field is not None and "replace" in field.patch_strategy and not field.repeated:
        return {k: v for k, v in patch.items() if k != _DIRECTIVE}
    message = field.message if field and not field.is_map else None
    if field is not None and field.is_map and field.message is not None:
        base = dict(old or {})
        for key, value in patch.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = _merge_object(base.get(key) or {}, value, field.message)
        return base
    return _merge_object(old if isinstance(old, dict) else {}, patch, message)


def _merges(field: Field | None) -> bool:
    return field is not None and field.repeated and "merge" in field.patch_strategy


def _finish_lists(result: dict[str, Any], patch: dict[str, Any], message: Message | None) -> None:
    """Carry out deletions from, and the order of, lists that the patch names only by directive."""
    for key, value in patch.items():
        if key.startswith(_DELETE) and isinstance(value, list):
            name = key[len(_DELETE) :]
            if name in result:
                result[name] = [item for item in result[name] if item not in value]
        elif key.startswith(_ORDER) and isinstance(value, list):
            name = key[len(_ORDER) :]
            field = message.fields.get(name) if message else None
            if result.get(name) and field is not None:
                result[name] = _ordered(result[name], value, field)


def _merge_list(
    old: list[Any], patch: list[Any], field: Field | None, owner: dict[str, Any]
) -> list[Any]:
    """Merge two lists: by key for objects, as a set for scalars."""
    assert field is not None
    if not field.patch_merge_key:
        return [*old, *(item for item in patch if item not in old)]
    key = field.patch_merge_key
    result = list(old)
    for item in patch:
        if not isinstance(item, dict):
            raise errors.bad_request(f"map: {field.name} items must be objects with {key}")
        if item.get(_DIRECTIVE) == "replace" and key not in item:
            return [entry for entry in patch if _DIRECTIVE not in entry]
        if key not in item:
            text = f"map: {_as_go(item)} does not contain declared merge key: {key}"
            raise errors.bad_request(text)
        _merge_item(result, item, key, field)
    return result


def _as_go(value: Any) -> str:
    """A value as Kubernetes' messages show it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_as_go(its)}' for key, its in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_as_go, value))}]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _merge_item(result: list[Any], item: dict[str, Any], key: str, field: Field) -> None:
    """Merge, replace or delete the item of a list that has the same key."""
    at = next((i for i, entry in enumerate(result) if _key(entry, key) == item[key]), None)
    if item.get(_DIRECTIVE) == "delete":
        result[:] = [entry for entry in result if _key(entry, key) != item[key]]
    elif at is None:
        result.append(_merge_object({}, item, field.message))
    else:
        result[at] = _merge_object(result[at], item, field.message)


def _key(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else entry


def _ordered(items: list[Any], order: list[Any], field: Field) -> list[Any]:
    """`items` in the order asked for; items it does not name keep their place before the next."""
    key = field.patch_merge_key
    wanted = [_key(entry, key) for entry in order]
    if any(isinstance(value, dict | list) for value in wanted):
        raise errors.bad_request(f"{_ORDER}{field.name} must name items by {key or 'value'}")
    places = {value: place for place, value in enumerate(wanted)}
    named = [item for item in items if _place(item, key, places) is not None]
    rest = iter(sorted(named, key=lambda item: places[_key(item, key)]))
    return [item if _place(item, key, places) is None else next(rest) for item in items]


def _place(item: Any, key: str, places: dict[Any, int]) -> int | None:
    """Where an item was asked to be, if it was."""
    value = _key(item, key)
    return None if isinstance(value, dict | list) else places.get(value)
