"""Every kind, with a value in every field, through every codec and back."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest

from common.api import errors, schema
from common.api.codec import json as codec
from common.api.codec import protobuf
from common.api.index import KINDS
from common.api.resource import Kind
from common.api.scheme import SCHEME

DEPTH = 12
SCALARS: dict[str, Any] = {
    "string": "text ä",
    "boolean": True,
    "int32": -(2**31),
    "int64": 2**63 - 1,
    "double": 1.5,
    "bytes": "aGVsbG8=",
    "time": "2026-01-02T03:04:05Z",
    "microtime": "2026-01-02T03:04:05.678901Z",
    "duration": "1.5s",
    "quantity": "1536Mi",
    "int-or-string": "25%",
    "any": {"a": {"b": [1, "c"]}},
    "fields": {"f:metadata": {"f:name": {}}},
}


def full(message: schema.Message, depth: int = DEPTH) -> dict[str, Any]:
    """An object with a value in every field, as deep as `depth`."""
    return {
        field.name: _member(field, depth)
        for field in message.fields.values()
        if field.message is None or depth > 0
    }


def _member(field: schema.Field, depth: int) -> Any:
    value = full(field.message, depth - 1) if field.message is not None else SCALARS[field.type]
    if field.is_map:
        return {"key": [value] if field.repeated else value}
    return [value] if field.repeated else value


def example(kind: Kind) -> dict[str, Any]:
    made = full(schema.message(kind.module, kind.name))
    return made | {"apiVersion": kind.api_version, "kind": kind.name}


def named(kind: Kind) -> str:
    return f"{kind.api_version}.{kind.name}"


def without_types(value: Any) -> Any:
    """Objects inside of objects say their kind in JSON, which protobuf does not."""
    if isinstance(value, list):
        return [without_types(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if k not in ("apiVersion", "kind")}
    return {name: without_types(member) for name, member in kept.items()}


# DeleteOptions and its kin are kinds of every group; a few lists nest everything once more.
OBJECTS = [kind for kind in KINDS if not kind.name.endswith("List")]


@pytest.mark.parametrize("kind", OBJECTS, ids=named)
def test_protobuf_round_trip(kind: Kind) -> None:
    plain = example(kind)
    data = protobuf.encode(plain)
    assert data[:4] == b"k8s\0"
    assert protobuf.decode(data) == plain


@pytest.mark.parametrize("kind", OBJECTS, ids=named)
def test_json_round_trip(kind: Kind) -> None:
    plain = example(kind)
    cls = SCHEME.struct(kind.api_version, kind.name)
    data = codec.encode(plain)
    fast, findings = codec.decode_request(data, cls)
    slow, more = codec.convert_request(plain, cls)
    assert (findings, more) == ([], [])
    assert fast == slow == codec.decode(data, cls)
    assert without_types(codec.decode_plain(codec.encode(fast))) == without_types(plain)


STORED = [kind for kind in OBJECTS if not kind.api_version.startswith("metrics.k8s.io/")]


@pytest.mark.parametrize("kind", STORED, ids=named)
def test_an_empty_object_survives_both_codecs(kind: Kind) -> None:
    cls = SCHEME.struct(kind.api_version, kind.name)
    stored = codec.decode_plain(codec.encode(cls()))
    back, findings = codec.convert_request(protobuf.decode(protobuf.encode(stored)), cls)
    assert findings == []
    assert back == cls()


def pod_bytes() -> bytes:
    fields = {"f:x": {}}
    return protobuf.encode(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "a",
                "creationTimestamp": "2020-01-01T00:00:00Z",
                "managedFields": [{"fieldsV1": fields}],
            },
            "spec": {"containers": [{"name": "x", "resources": {"limits": {"cpu": "1"}}}]},
        }
    )


def test_broken_bytes_are_bad_requests() -> None:
    good, rng = pod_bytes(), random.Random(1)
    refused = 0
    for _ in range(5_000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(4, len(data))] = rng.randrange(256)
        try:
            protobuf.decode(bytes(data))
        except errors.StatusError as error:
            assert error.code == 400
            refused += 1
    assert refused > 1_000


def envelope(raw: bytes, kind: str = "Pod") -> bytes:
    made = importlib.import_module("protos.meta_v1_pb2").Unknown()
    made.typeMeta.apiVersion, made.typeMeta.kind, made.raw = "v1", kind, raw
    return protobuf.MAGIC + bytes(made.SerializeToString())


def pod_with(*, raw: bytes = b"", seconds: int = 0) -> bytes:
    made = importlib.import_module("protos.core_v1_pb2").Pod()
    made.metadata.creationTimestamp.seconds = seconds
    made.metadata.managedFields.add().fieldsV1.raw = raw
    return envelope(made.SerializeToString())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"k8s",
        b"k8s\0\xff",
        envelope(b"", kind="Nothing"),
        envelope(b"\xff"),
        pod_with(raw=b"{bad"),
        pod_with(raw=b"\xff"),
        pod_with(raw=b"[" * 100_000),
        pod_with(seconds=2**62),
        pod_with(seconds=-(2**62)),
    ],
)
def test_bad_requests(data: bytes) -> None:
    with pytest.raises(errors.StatusError) as raised:
        protobuf.decode(data)
    assert raised.value.code == 400


def test_delete_options_of_any_group() -> None:
    made = importlib.import_module("protos.meta_v1_pb2").Unknown()
    made.typeMeta.apiVersion, made.typeMeta.kind = "apps/v1", "DeleteOptions"
    data = protobuf.MAGIC + made.SerializeToString()
    assert protobuf.decode(data) == {"apiVersion": "apps/v1", "kind": "DeleteOptions"}
