"""What the .proto files say about a kind, as plain values: for patches, OpenAPI, explanations.

Loads the protobuf descriptors of kinds, which only a master needs; nodes use the Structs and the
index alone.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from functools import cache
from typing import Any

SPECIAL = {
    "Time": "time",
    "MicroTime": "microtime",
    "Duration": "duration",
    "Quantity": "quantity",
    "IntOrString": "int-or-string",
    "RawExtension": "any",
    "FieldsV1": "fields",
}
_SCALARS = {9: "string", 8: "boolean", 5: "int32", 3: "int64", 1: "double", 12: "bytes"}


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an object in JSON. `message` is set when its (element's) value is an object."""

    name: str
    type: str
    message: Message | None
    repeated: bool
    is_map: bool
    always: bool
    null: bool
    presence: bool
    required: bool
    patch_strategy: tuple[str, ...]
    patch_merge_key: str
    list_type: str
    list_map_keys: tuple[str, ...]
    map_type: str
    choices: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Message:
    """An object type with its members as JSON has them: inlined messages are flattened."""

    name: str
    module: str
    descriptor: Any
    atomic: bool
    fields: dict[str, Field] = field(default_factory=dict)


@cache
def descriptor(module: str, name: str) -> Any:
    """The protobuf descriptor of a message of protos/<module>.proto."""
    return importlib.import_module(f"protos.{module}_pb2").DESCRIPTOR.message_types_by_name[name]


_messages: dict[str, Message] = {}


def message(module: str, name: str) -> Message:
    """The schema of a message, such as `message("core_v1", "Pod")`."""
    return _message(descriptor(module, name))


def _message(proto: Any) -> Message:
    """The schema of a descriptor; made once, so recursive types end."""
    known = _messages.get(proto.full_name)
    if known is not None:
        return known
    module = proto.file.name.rsplit("/", 1)[-1].removesuffix(".proto")
    made = Message(proto.name, module, proto, option(proto, "atomic"))
    _messages[proto.full_name] = made
    for member in proto.fields:
        if option(member, "inline"):
            made.fields.update(_message(member.message_type).fields)
        else:
            made.fields[member.name] = _field(member)
    return made


def option(proto: Any, name: str) -> Any:
    """One of our options on a message or field."""
    from protos import options_pb2

    return proto.GetOptions().Extensions[getattr(options_pb2, name)]


def special(proto: Any) -> str:
    """The JSON type of a message that is not an object in JSON, or the empty string."""
    if proto.file.name.endswith("meta_v1.proto"):
        return SPECIAL.get(proto.name, "")
    return ""


def _field(proto: Any) -> Field:
    element, repeated, is_map = proto, proto.is_repeated, False
    nested = proto.message_type
    if nested is not None and nested.GetOptions().map_entry:
        element, repeated, is_map = nested.fields_by_name["value"], False, True
    if element.message_type is not None and option(element.message_type, "wrapper"):
        element, repeated = element.message_type.fields[0], True
    kind = _SCALARS.get(element.type, "object")
    child: Message | None = None
    if element.message_type is not None:
        kind = special(element.message_type) or "object"
        if kind == "object":
            child = _message(element.message_type)
    return Field(
        name=proto.name,
        type=kind,
        message=child,
        repeated=repeated,
        is_map=is_map,
        always=option(proto, "always"),
        null=option(proto, "null"),
        presence=not repeated and not is_map and proto.has_presence,
        required=option(proto, "required"),
        patch_strategy=tuple(filter(None, option(proto, "patch_strategy").split(","))),
        patch_merge_key=option(proto, "patch_merge_key"),
        list_type=option(proto, "list_type"),
        list_map_keys=tuple(option(proto, "list_map_keys")),
        map_type=option(proto, "map_type"),
        choices=tuple(option(proto, "choices").split(",")) if option(proto, "choices") else (),
    )
