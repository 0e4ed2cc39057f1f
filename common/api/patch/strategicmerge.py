"""Strategic merge patch: lists are merged by key, with the directives and the order of Kubernetes.

The order of a merged list is observable (`$(VAR)` is expanded by it). Items that the patch names
stand in the order of the patch, or of `$setElementOrder`; items that only the server has keep
theirs; where the two meet, an item that the server had before another one stays before it, and
everything else that the patch names comes first.

Source: k8s.io/apimachinery pkg/util/strategicpatch; in places where that ends in an internal
error, this is 400.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from common.api import errors
from common.api.schema import Field, Message

_DIRECTIVE = "$patch"
_ORDER = "$setElementOrder"
_DELETE = "$deleteFromPrimitiveList"
_RETAIN = "$retainKeys"
_BAD_FORMAT = {_ORDER: "setElementOrder list", _DELETE: "primitive list"}
_SHOWN_MAX_PIECES = 200
_DROPPED = object()
Object = dict[str, Any]
Items = list[Any]
_Keyed = tuple[Hashable, Any]


def strategic(target: Any, patch: Any, message: Message) -> Object:
    """The object of type `message` that a patch makes of `target`.

    Raises StatusError 400 or 422.
    """
    if not isinstance(patch, dict):
        raise errors.bad_request("error decoding patch: a strategic merge patch is an object")
    try:
        return _merge_object(target if isinstance(target, dict) else {}, patch, message)
    except RecursionError as error:
        raise errors.too_deep() from error


def _merge_object(original: Object, patch: Object, message: Message | None) -> Object:
    """Merge two objects; `message` is None below maps and opaque values."""
    if _DIRECTIVE in patch:
        return _directed(patch)
    result = _retained(original, patch) if _RETAIN in patch else dict(original)
    fields = message.fields if message else {}
    ordered = {
        _merge_ordered(result, patch, key, fields) for key in patch if key.startswith(_ORDER)
    }
    deletions = []
    for key, value in patch.items():
        if key.startswith(_DELETE):
            deletions.append((_list_name(key, _DELETE), value))
        elif key != _RETAIN and key not in ordered and not key.startswith(_ORDER):
            _merge_member(result, key, value, fields.get(key), deleting=False)
    for name, value in deletions:
        _merge_member(result, name, value, fields.get(name), deleting=True)
    return result


def _directed(patch: Object) -> Object:
    """What a patch that says `$patch` becomes."""
    match patch[_DIRECTIVE]:
        case "replace":
            return {key: value for key, value in patch.items() if key != _DIRECTIVE}
        case "delete":
            return {}
    raise _unknown_directive(patch)


def _unknown_directive(patch: Object) -> errors.StatusError:
    kind = _shown(patch[_DIRECTIVE])
    return errors.bad_request(f"unknown patch type: {kind} in map: {_shown(patch)}")


def _retained(original: Object, patch: Object) -> Object:
    """The members of `original` that `$retainKeys` names; the patch may have no others."""
    names = patch[_RETAIN]
    if not isinstance(names, list) or any(isinstance(name, dict | list) for name in names):
        raise errors.bad_request("invalid patch format of retainKeys")
    kept = {name for name in names if isinstance(name, str)}
    for key, value in patch.items():
        named = key in kept or key == _RETAIN or key.startswith((_ORDER, _DELETE))
        if value is not None and not named:
            raise errors.bad_request("invalid patch format of retainKeys")
    return {key: value for key, value in original.items() if key in kept}


def _list_name(key: str, directive: str) -> str:
    """The list that `$setElementOrder/env` and its like are about."""
    prefix, slash, name = key.partition("/")
    if prefix != directive or not slash:
        raise errors.bad_request(f"invalid patch format of {_BAD_FORMAT[directive]}")
    return name


def _merge_member(
    result: Object, name: str, value: Any, field: Field | None, *, deleting: bool
) -> None:
    """Merge one member; `deleting` when the value is what to take out of a list."""
    old = result.get(name)
    if value is None:
        result.pop(name, None)
    elif isinstance(old, dict) and isinstance(value, dict):
        result[name] = _merge_known_object(old, value, field)
    elif isinstance(old, list) and isinstance(value, list):
        result[name] = _merge_list(old, value, field, deleting=deleting).items
    elif not deleting or type(old) is type(value):
        taken = _taken(value)
        if taken is _DROPPED:
            result.pop(name, None)
        else:
            result[name] = taken


def _merge_known_object(old: Object, patch: Object, field: Field | None) -> Object:
    if field is not None and "replace" in field.patch_strategy:
        return patch
    return _merge_object(old, patch, field.message if field and not field.is_map else None)


def _taken(value: Any) -> Any:
    """A value where there was none: without nulls, and without parts that are directives."""
    if isinstance(value, dict):
        if value.get(_DIRECTIVE) is not None:
            return _DROPPED
        members = ((key, _taken(member)) for key, member in value.items() if member is not None)
        return {key: member for key, member in members if member is not _DROPPED}
    if isinstance(value, list):
        return [item for item in map(_taken, value) if item is not _DROPPED]
    return value


class _Merged(NamedTuple):
    """A merged list, and the list whose order the server's own items keep."""

    items: Items
    server: Items


def _merge_list(old: Items, patch: Items, field: Field | None, *, deleting: bool) -> _Merged:
    """Merge two lists as the strategy of their field says."""
    merges = field is not None and field.repeated and "merge" in field.patch_strategy
    if not merges and not deleting:
        return _Merged(patch, old)
    if not old and not patch:
        return _Merged(old, old)
    key = field.patch_merge_key if field else ""
    if _of_objects(old, patch):
        if not key:
            raise errors.bad_request("cannot merge lists without merge key for struct")
        return _merge_objects(old, patch, key, field.message if field else None)
    if deleting:
        gone = set(map(_identity, patch))
        return _Merged([item for item in old if _identity(item) not in gone], old)
    both = {_identity(item): item for item in [*old, *patch]}
    return _Merged(_in_order(list(both.values()), patch, old, key), old)


def _of_objects(*lists: Items) -> bool:
    """Whether lists are of objects rather than of scalars; all items must be of one type."""
    types = {type(item) for items in lists for item in items}
    if list in types:
        raise errors.unprocessable("lists of lists are not supported")
    if len(types) > 1 or type(None) in types:
        raise errors.bad_request(f"list element types are not identical: {_shown(list(lists))}")
    return dict in types


def _merge_objects(old: Items, patch: Items, key: str, message: Message | None) -> _Merged:
    """Merge two lists of objects by key, in time linear in their lengths."""
    base, rest = _without_directives(old, patch, key)
    merged = list(base)
    places = _places(base, key)
    for item in rest:
        at = places.setdefault(_key(item, key), len(merged))
        if at == len(merged):
            merged.append(item)
        else:
            merged[at] = _merge_object(merged[at], item, message)
    freed = len(old) - len(base)
    server = [*base, *merged[len(base) : len(base) + freed]]  # new items take the deleted's places
    return _Merged(_in_order(merged, rest, base, key), server)


def _without_directives(old: Items, patch: Items, key: str) -> tuple[Items, Items]:
    """(the list as the patch's `$patch` items leave it, the other items of the patch)."""
    rest, gone, replace = [], set(), False
    for item in patch:
        match item.get(_DIRECTIVE, _DROPPED):
            case "delete":
                gone.add(_key(item, key))
            case "replace":
                replace = True
            case "merge":
                raise errors.bad_request("merging lists cannot yet be specified in the patch")
            case directive if directive is not _DROPPED:
                raise _unknown_directive(item)
            case _:
                rest.append(item)
    if replace:
        return rest, []
    return [item for item in old if not gone or _key(item, key) not in gone], rest


def _merge_ordered(result: Object, patch: Object, key: str, fields: dict[str, Field]) -> str:
    """Merge the list that an order is for, and put it in that order; answers the list's name."""
    order, name = patch[key], _list_name(key, _ORDER)
    field = fields.get(name)
    if field is None or not field.repeated:
        raise errors.bad_request(f'unable to find a list for the json field "{name}"')
    old, new = result.get(name), patch.get(name, [])
    for value in (order, old if name in result else [], new):
        if not isinstance(value, list):
            raise errors.bad_request(f"expected a []interface {{}}, but received {_shown(value)}")
    _check_order(new, order, field.patch_merge_key)
    if not old and not new:
        if name in patch:
            raise errors.bad_request("no elements in any of the given slices")
        return name
    if name not in result:
        merged = _Merged(_taken(new), [])
    elif name in patch:
        merged = _merge_list(result[name], new, field, deleting=False)
    else:
        merged = _Merged(result[name], result[name])
    _of_objects(old or [], new)
    result[name] = _in_order(merged.items, order, merged.server, field.patch_merge_key)
    return name


def _check_order(patch: Items, order: Items, key: str) -> None:
    """The items of a patch must be in its `$setElementOrder`, and in the same order."""
    if not patch or not order:
        return
    kept = patch
    if key:
        _check_objects(patch)
        kept = [item for item in patch if item.get(_DIRECTIVE) != "delete"]
    at = places = 0
    while at < len(kept) and places < len(order):
        if isinstance(kept[at], dict) and _DIRECTIVE in kept[at]:
            at += 1
            continue
        at += _key(kept[at], key) == _key(order[places], key)
        places += 1
    if at < len(kept):
        raise errors.bad_request(
            f"The order in patch list:\n{_shown(patch)}\n doesn't match {_ORDER} list:\n"
            f"{_shown(order)}\n"
        )


def _check_objects(items: Items) -> None:
    for item in items:
        if not isinstance(item, dict):
            raise errors.bad_request(f"expected a map[string]interface {{}}, not {_shown(item)}")


def _in_order(merged: Items, order: Items, server: Items, key: str) -> Items:
    """Put the items that `order` names into that order, and the others of `server` in between."""
    places, servers = _places(order, key), _places(server, key)
    keyed = [(_key(item, key), item) for item in merged]
    wanted = sorted((p for p in keyed if p[0] in places), key=lambda pair: places[pair[0]])
    rest = _in_servers_order([pair for pair in keyed if pair[0] not in places], servers)
    result: Items = []
    at = 0
    for name, item in wanted:
        before = servers.get(name, -1)
        while at < len(rest) and servers.get(rest[at][0], before) < before:
            result.append(rest[at][1])
            at += 1
        result.append(item)
    return result + [item for _, item in rest[at:]]


def _in_servers_order(keyed: list[_Keyed], servers: dict[Hashable, int]) -> list[_Keyed]:
    """Items as the server had them; such as it had not come last, the latest first."""
    known = [pair for pair in keyed if pair[0] in servers]
    new = [pair for pair in keyed if pair[0] not in servers]
    return sorted(known, key=lambda pair: servers[pair[0]]) + new[::-1]


def _places(items: Items, key: str) -> dict[Hashable, int]:
    """The first place of each item, by its identity."""
    places: dict[Hashable, int] = {}
    for place, item in enumerate(items):
        places.setdefault(_key(item, key), place)
    return places


def _key(item: Any, key: str) -> Hashable:
    """What identifies an item: the value of its merge key, or of a scalar itself."""
    if not key:
        return _identity(item)
    if not isinstance(item, dict):
        raise errors.bad_request(f"expected a map[string]interface {{}}, not {_shown(item)}")
    if key not in item:
        text = f"map: {_shown(item)} does not contain declared merge key: {key}"
        raise errors.bad_request(text)
    return _identity(item[key])


def _identity(value: Any) -> Hashable:
    """A scalar such that only one of its type is equal: 1 is neither 1.0 nor true."""
    if type(value) is str:
        return value
    if isinstance(value, dict | list):
        raise errors.bad_request(f"{_shown(value)} cannot identify an item of a list")
    return type(value), value


def _shown(value: Any) -> str:
    """A value as Go prints it, cut when it is long."""
    pieces = list(islice(_pieces(value), _SHOWN_MAX_PIECES + 1))
    cut = "..." if len(pieces) > _SHOWN_MAX_PIECES else ""
    return "".join(pieces[:_SHOWN_MAX_PIECES]) + cut


def _pieces(value: Any) -> Iterator[str]:
    """The text of a value, in pieces."""
    if isinstance(value, dict):
        yield "map["
        for number, key in enumerate(sorted(value)):
            yield f"{' ' if number else ''}{key[:256]}:"
            yield from _pieces(value[key])
        yield "]"
    elif isinstance(value, list):
        yield "["
        for number, item in enumerate(value):
            yield " " if number else ""
            yield from _pieces(item)
        yield "]"
    elif value is None:
        yield "<nil>"
    else:
        yield str(value).lower() if isinstance(value, bool) else str(value)[:256]
