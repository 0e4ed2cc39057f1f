"""Kubernetes' protobuf envelope, both ways: `k8s\\0`, then runtime.Unknown around the object.

Works on plain JSON values; the conversions of a message are prepared once and then straight.
Source: k8s.io/apimachinery pkg/runtime/serializer/protobuf.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from common.api import errors, schema, times
from common.api.codec import tolerance
from common.api.codec.json import decode_plain
from common.api.integers import INT64_MAX
from common.api.scheme import SCHEME, Scheme

MAGIC = b"k8s\x00"
Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]


def decode(data: bytes, scheme: Scheme = SCHEME) -> dict[str, Any]:
    """The object in an envelope, as plain JSON values with apiVersion and kind.

    Raises StatusError 400 for anything that is not an envelope around a known kind.
    """
    if not data.startswith(MAGIC):
        raise errors.bad_request("provided data does not appear to be a protobuf message")
    envelope = _message_class("meta_v1", "Unknown")()
    try:
        envelope.ParseFromString(data[len(MAGIC) :])
        version, name = envelope.typeMeta.apiVersion, envelope.typeMeta.kind
        kind = scheme.kind(version, name)
        if kind is None and name == "DeleteOptions":
            kind = scheme.kind("v1", name)
        if kind is None:
            text = f'no kind "{name[:512]}" is registered for version "{version[:512]}"'
            raise errors.bad_request(text)
        message = _message_class(kind.module, kind.name)()
        message.ParseFromString(envelope.raw)
        return {"apiVersion": version, "kind": name, **read_object(message)}
    except (DecodeError, UnicodeDecodeError) as error:
        raise errors.bad_request(f"the protobuf body cannot be decoded: {error}") from error


def encode(plain: dict[str, Any], scheme: Scheme = SCHEME) -> bytes:
    """An object of plain JSON values in an envelope. Raises KeyError for unknown kinds."""
    kind = scheme.kind(plain["apiVersion"], plain["kind"])
    if kind is None:
        raise KeyError(f"{plain['apiVersion']} {plain['kind']}")
    message = _message_class(kind.module, kind.name)()
    write_object(plain, message)
    envelope = _message_class("meta_v1", "Unknown")()
    envelope.typeMeta.apiVersion = kind.api_version
    envelope.typeMeta.kind = kind.name
    envelope.raw = message.SerializeToString()
    return MAGIC + bytes(envelope.SerializeToString())


def list_item(head: Mapping[str, Any], plain: dict[str, Any]) -> bytes:
    """An item of a list of the kind that `head` says, as a field of the list's message."""
    kind = SCHEME.kind(head["apiVersion"], head["kind"])
    assert kind is not None
    field = _message_class(kind.module, kind.name).DESCRIPTOR.fields_by_name["items"]
    message = _message_class(kind.module, kind.name.removesuffix("List"))()
    write_object(plain, message)
    return _field(field.number, message.SerializeToString())


def list_envelope(head: dict[str, Any], items: Sequence[bytes]) -> list[bytes]:
    """The parts of an envelope around a list: `head` without items, and what `list_item` made."""
    kind = SCHEME.kind(head["apiVersion"], head["kind"])
    assert kind is not None
    message = _message_class(kind.module, kind.name)()
    write_object(head, message)
    start = message.SerializeToString()
    envelope = _message_class("meta_v1", "Unknown")()
    envelope.typeMeta.apiVersion = kind.api_version
    envelope.typeMeta.kind = kind.name
    size = len(start) + sum(map(len, items))
    raw = _key(envelope.DESCRIPTOR.fields_by_name["raw"].number) + _varint(size)
    return [MAGIC + envelope.SerializeToString() + raw + start, *items]


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes on the wire."""
    return _key(number) + _varint(len(data)) + data


def _key(number: int) -> bytes:
    return _varint(number << 3 | 2)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _message_class(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"protos.{module}_pb2"), name)


def read_object(message: Any) -> dict[str, Any]:
    """A message as a JSON object; zero plain fields are dropped, zero pointers kept."""
    result: dict[str, Any] = {}
    for read in _readers(message.DESCRIPTOR):
        read(message, result)
    return result


@cache
def _readers(descriptor: Any) -> tuple[Callable[[Any, dict[str, Any]], None], ...]:
    return tuple(_reader(field) for field in descriptor.fields)


def _reader(field: Any) -> Callable[[Any, dict[str, Any]], None]:
    """A function that copies one field of a message into a JSON object."""
    name, nested = field.name, field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        convert = _value_reader(nested.fields_by_name["value"])

        def read(message: Any, result: dict[str, Any]) -> None:
            value = getattr(message, name)
            if value:
                result[name] = {k: convert(value[k]) for k in value}

    elif field.is_repeated:
        convert = _value_reader(field)

        def read(message: Any, result: dict[str, Any]) -> None:
            value = getattr(message, name)
            if value:
                result[name] = [convert(item) for item in value]

    elif schema.option(field, "inline"):

        def read(message: Any, result: dict[str, Any]) -> None:
            if message.HasField(name):
                result.update(read_object(getattr(message, name)))

    elif field.has_presence:
        convert = _value_reader(field)

        def read(message: Any, result: dict[str, Any]) -> None:
            if message.HasField(name):
                value = convert(getattr(message, name))
                if value is not None:
                    result[name] = value

    else:
        convert = _value_reader(field)

        def read(message: Any, result: dict[str, Any]) -> None:
            value = getattr(message, name)
            if value:
                result[name] = convert(value)

    return read


def _value_reader(field: Any) -> Reader:
    """How one value of a field becomes JSON."""
    nested = field.message_type
    if nested is None:
        return _read_bytes if field.type == field.TYPE_BYTES else _same
    kind = schema.special(nested)
    if kind:
        return _SPECIAL_READERS[kind]
    if schema.option(nested, "wrapper"):
        return lambda message: list(message.items)
    return read_object


def _same(value: Any) -> Any:
    return value


def _read_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _moment(message: Any) -> datetime | None:
    if not message.seconds and not message.nanos:
        return None
    moment = times.later(times.EPOCH, message.seconds)
    if moment.timestamp() != message.seconds:
        raise errors.bad_request(f"time out of range: {message.seconds}")
    return moment.replace(microsecond=max(0, min(message.nanos // 1000, 999_999)))


def _read_time(message: Any) -> str | None:
    moment = _moment(message)
    return times.to_time(moment) if moment else None


def _read_micro_time(message: Any) -> str | None:
    moment = _moment(message)
    return times.to_micro_time(moment) if moment else None


def _read_raw(message: Any) -> Any:
    return decode_plain(message.raw) if message.raw else None


_SPECIAL_READERS: dict[str, Reader] = {
    "time": _read_time,
    "microtime": _read_micro_time,
    "duration": lambda message: f"{message.duration / 1e9:g}s",
    "quantity": lambda message: message.string,
    "int-or-string": lambda message: message.strVal if message.type == 1 else message.intVal,
    "any": _read_raw,
    "fields": _read_raw,
}


def write_object(plain: dict[str, Any], message: Any) -> None:
    """Fill a message from a JSON object; unknown members are skipped."""
    for name, write in _writers(message.DESCRIPTOR).items():
        if name == "":
            write(message, plain)
        elif plain.get(name) is not None:
            write(message, plain[name])


@cache
def _writers(descriptor: Any) -> dict[str, Callable[[Any, Any], None]]:
    """By JSON name, how a member is written; '' writes an inlined message."""
    writers: dict[str, Callable[[Any, Any], None]] = {}
    for field in descriptor.fields:
        writers["" if schema.option(field, "inline") else field.name] = _writer(field)
    return writers


def _writer(field: Any) -> Callable[[Any, Any], None]:
    """A function that sets one field of a message from a JSON value."""
    name, nested = field.name, field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        return _map_writer(name, nested.fields_by_name["value"])
    if nested is None:
        convert: Writer = _write_bytes if field.type == field.TYPE_BYTES else _same
        if field.is_repeated:
            return lambda message, items: getattr(message, name).extend(map(convert, items))
        return lambda message, value: setattr(message, name, convert(value))
    fill = _filler(nested)
    if field.is_repeated:

        def write_items(message: Any, items: list[Any]) -> None:
            for item in items:
                fill(item, getattr(message, name).add())

        return write_items

    def write_one(message: Any, value: Any) -> None:
        getattr(message, name).SetInParent()
        fill(value, getattr(message, name))

    return write_one


def _map_writer(name: str, value_field: Any) -> Callable[[Any, Any], None]:
    if value_field.message_type is not None:
        fill = _filler(value_field.message_type)

        def write(message: Any, items: dict[str, Any]) -> None:
            for key, value in items.items():
                fill(value, getattr(message, name)[key])

        return write
    convert: Writer = _write_bytes if value_field.type == value_field.TYPE_BYTES else _same
    return lambda message, items: getattr(message, name).update(
        {key: convert(value) for key, value in items.items()}
    )


def _write_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(tolerance.base64_text(text))
    except ValueError as error:
        raise errors.bad_request(str(error)) from error


def _filler(nested: Any) -> Callable[[Any, Any], None]:
    """How a message is filled from one JSON value."""
    kind = schema.special(nested)
    if kind in ("time", "microtime"):
        return _write_time
    if kind:
        return _SPECIAL_WRITERS[kind]
    if schema.option(nested, "wrapper"):
        return lambda items, message: message.items.extend(items)
    return write_object


def _write_time(text: str, message: Any) -> None:
    moment = times.parse(text)
    message.seconds = int(moment.timestamp())
    message.nanos = moment.microsecond * 1000


def _write_int_or_string(value: int | str, message: Any) -> None:
    if isinstance(value, str):
        message.type, message.strVal = 1, value
    else:
        message.type, message.intVal = 0, value


def _write_raw(value: Any, message: Any) -> None:
    message.raw = msgspec.json.encode(value)


def _write_quantity(value: Any, message: Any) -> None:
    message.string = str(value)


def _write_duration(text: str, message: Any) -> None:
    nanoseconds = int(float(text.removesuffix("s") or 0) * 1e9)
    message.duration = max(-INT64_MAX, min(nanoseconds, INT64_MAX))


_SPECIAL_WRITERS: dict[str, Callable[[Any, Any], None]] = {
    "duration": _write_duration,
    "quantity": _write_quantity,
    "int-or-string": _write_int_or_string,
    "any": _write_raw,
    "fields": _write_raw,
}
