"""JSON to Structs and back: the fast way, and the door for requests with Kubernetes' errors."""

from __future__ import annotations

import time
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from common.api import errors
from common.api.codec import canonical, strict, tolerance

T = TypeVar("T", bound=msgspec.Struct)

encode = msgspec.json.Encoder().encode
"""A Struct or plain value as compact JSON bytes."""

_RAW = msgspec.json.Decoder()
GIVE_WAY_SECONDS = 0.002


@cache
def decoder(cls: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of a type, made once."""
    return msgspec.json.Decoder(cls)


def decode(data: bytes, cls: type[T]) -> T:
    """Decode what we stored or sent ourselves. Raises msgspec.ValidationError if it is not so."""
    value: T = decoder(cls).decode(data)
    return value


def is_known(data: bytes, cls: type[msgspec.Struct]) -> bool:
    """Whether a stored object has no field but those of its type."""
    try:
        _strict_decoder(cls).decode(data)
    except msgspec.ValidationError:
        return False
    return True


def decode_plain(data: bytes) -> Any:
    """Decode untrusted JSON into dicts and lists; raises StatusError 400."""
    try:
        return _RAW.decode(data)
    except RecursionError as error:
        raise errors.too_deep() from error
    except (msgspec.DecodeError, ValueError) as error:
        mended = tolerance.mended_json(data)
        if mended != data:
            return decode_plain(mended)
        why = str(error).replace("Input data was truncated", "unexpected end of JSON input")
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {why}") from error


def decode_request(data: bytes, cls: type[T]) -> tuple[T, list[str]]:
    """Decode a client's object: quantities and times in canonical form.

    Returns the object and what strict decoding finds: unknown and duplicate fields, in
    Kubernetes' words. Raises StatusError 400 for what cannot be decoded at all.
    """
    try:
        value = decoder(cls).decode(data)
        canonical.normalise(value)
        _yield_interpreter(data)
        kept = encode(_strict_decoder(cls).decode(data))
        _yield_interpreter(data)
    except RecursionError as error:
        raise errors.too_deep() from error
    except (msgspec.DecodeError, ValueError):
        return _slow(data, cls)
    # Of a key that is there twice one is lost, with its quotes. Only \u0022 can make up for them.
    every_key_once = kept.count(b'"') == data.count(b'"') and rb"\u0022" not in data
    return value, [] if every_key_once else _duplicates(data)


def _yield_interpreter(data: bytes) -> None:
    """Let the event loop have the interpreter: a large body is read in a thread, by calls of C that
    keep it for 15 ms each, and one answer takes the loop several turns.
    """
    if len(data) > strict.C_MAX_BYTES:
        time.sleep(GIVE_WAY_SECONDS)


def _slow(data: bytes, cls: type[T]) -> tuple[T, list[str]]:
    """Name every finding with its path; accept what Go accepts (null, bare numbers)."""
    plain = decode_plain(data)
    value, findings = convert_request(plain, cls)
    if len(findings) < errors.FINDINGS_MAX:
        findings += outside(findings, _duplicates(data))
    return value, findings


def outside(unknown: list[str], repeated: list[str]) -> list[str]:
    """Repeated fields but those of unknown fields, of which nothing more is told."""
    paths = tuple(text.removeprefix('unknown field "').rstrip('"') for text in unknown)
    ends = tuple(f"{path}{mark}" for path in paths for mark in (".", "[", '"'))
    return [
        text for text in repeated if not text.removeprefix('duplicate field "').startswith(ends)
    ]


def duplicates(data: bytes, plain: Any) -> list[str]:
    """The same findings for a text of which `plain` is at hand already."""
    try:
        every_key_once = encode(plain).count(b'"') == data.count(b'"')
    except RecursionError as error:
        raise errors.too_deep() from error
    return [] if every_key_once and rb"\u0022" not in data else _duplicates(data)


def _duplicates(data: bytes) -> list[str]:
    """Keys that are there twice; raises StatusError 400 for what no walk gets to the end of."""
    try:
        return strict.duplicates(tolerance.mended_json(data))
    except (RecursionError, ValueError) as error:
        raise errors.too_deep() from error


def convert_request(plain: Any, cls: type[T]) -> tuple[T, list[str]]:
    """As decode_request, for plain values that a patch, YAML or protobuf has made."""
    cleaned, findings = strict.clean(plain, cls)
    try:
        value = msgspec.convert(cleaned, cls)
        canonical.normalise(value)
    except RecursionError as error:
        raise errors.too_deep() from error
    except (msgspec.ValidationError, ValueError) as error:
        raise errors.CannotBeHandled(cls.__name__, version_of(cls), str(error)) from error
    return value, findings


def version_of(cls: type[msgspec.Struct]) -> str:
    """`v1` for the Structs of apps_v1."""
    return cls.__module__.rsplit("_", 1)[-1]


@cache
def _strict_decoder(cls: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """A decoder of the same shape that refuses unknown fields."""
    return msgspec.json.Decoder(_twin(cls))


@cache
def _twin(cls: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """A copy of a Struct type, all the way down: forbids unknown fields, encodes what was set."""
    hints = get_type_hints(cls, include_extras=True)
    fields: list[Any] = []
    for info in msgspec.structs.fields(cls):
        hint = _strict_copy_type(hints[info.name]) | msgspec.UnsetType
        unset = msgspec.field(default=msgspec.UNSET, name=info.encode_name)
        fields.append((info.name, hint, unset))
    return msgspec.defstruct(
        cls.__name__, fields, kw_only=True, forbid_unknown_fields=True, gc=False
    )


def _strict_copy_type(hint: Any) -> Any:
    """The same type expression with every Struct replaced by its twin."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _twin(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is None or not arguments or hasattr(hint, "__metadata__"):
        return hint
    replaced = tuple(a if a is Ellipsis else _strict_copy_type(a) for a in arguments)
    if origin in (tuple, dict):
        return origin[replaced]
    union: Any = replaced[0]
    for member in replaced[1:]:
        union = union | member
    return union
