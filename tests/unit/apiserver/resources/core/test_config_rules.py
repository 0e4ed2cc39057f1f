"""ConfigMaps, Secrets and Services."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from common.api.codec import json as codec
from tests.unit.apiserver.conftest import Writer

MEBIBYTE = 1 << 20
IMMUTABLE = "Forbidden: field is immutable when `immutable` is set"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def named(**members: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, **members}


@pytest.mark.parametrize("key", ["a", "A.b-c_d", "0", "x" * 253])
def test_good_keys(writer: Writer, key: str) -> None:
    assert writer.create_problems("configmaps", named(data={key: ""})) == []
    assert writer.create_problems("secrets", named(data={key: ""})) == []


@pytest.mark.parametrize("key", ["", ".", "..", "..a", "a/b", "a b", "ä", "a\0", "x" * 254])
def test_bad_keys(writer: Writer, key: str) -> None:
    for resource in ("configmaps", "secrets"):
        found = writer.create_problems(resource, named(data={key: ""}))
        assert found
        assert all(text.startswith(f"data[{key}]: Invalid value:") for text in found)


def test_text_and_bytes_share_keys(writer: Writer) -> None:
    body = named(data={"a": ""}, binaryData={"a": ""})
    assert writer.create_problems("configmaps", body) == [
        'data[a]: Invalid value: "a": duplicate of key present in binaryData'
    ]


def test_a_mebibyte_is_the_limit(writer: Writer) -> None:
    assert writer.create_problems("configmaps", named(data={"a": "x" * MEBIBYTE})) == []
    large = named(data={"a": "ä" * (MEBIBYTE // 2), "b": "x"})
    assert writer.create_problems("configmaps", large) == [
        "[]: Too long: may not be more than 1048576 bytes"
    ]
    secret = named(stringData={"a": "x" * (MEBIBYTE + 1)})
    assert writer.create_problems("secrets", secret) == [
        "data: Too long: may not be more than 1048576 bytes"
    ]


@pytest.mark.parametrize("resource", ["configmaps", "secrets"])
def test_immutable_objects_stay(writer: Writer, resource: str) -> None:
    old = named(data={"a": ""}, immutable=True)
    assert writer.update_problems(resource, old, old) == []
    assert writer.update_problems(resource, named(data={"a": ""}), old) == [
        f"immutable: {IMMUTABLE}"
    ]
    changed = named(data={"a": b64(b"x")}, immutable=True)
    assert writer.update_problems(resource, changed, old) == [f"data: {IMMUTABLE}"]


def test_string_data_is_written_into_data(writer: Writer) -> None:
    made = writer.create("secrets", named(data={"a": b64(b"1"), "b": ""}, stringData={"a": "ä"}))
    plain = codec.decode_plain(codec.encode(made))
    assert plain["data"] == {"a": b64("ä".encode()), "b": ""}
    assert (plain["type"], "stringData" in plain) == ("Opaque", False)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("Opaque", {}, []),
        ("example.com/own", {}, []),
        ("kubernetes.io/tls", {"tls.crt": b""}, ["data[tls.key]: Required value"]),
        (
            "kubernetes.io/ssh-auth",
            {"ssh-privatekey": b""},
            ["data[ssh-privatekey]: Required value"],
        ),
        ("kubernetes.io/basic-auth", {"username": b""}, []),
        (
            "kubernetes.io/basic-auth",
            {},
            ["data[username]: Required value", "data[password]: Required value"],
        ),
        (
            "kubernetes.io/dockerconfigjson",
            {},
            ["data[.dockerconfigjson]: Required value"],
        ),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": b'{"auths":{}}'}, []),
        (
            "kubernetes.io/service-account-token",
            {},
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
    ],
)
def test_secret_types(
    writer: Writer, kind: str, data: dict[str, bytes], expected: list[str]
) -> None:
    body = named(type=kind, data={key: b64(value) for key, value in data.items()})
    assert writer.create_problems("secrets", body) == expected


@pytest.mark.parametrize("content", [b"secret word", b"[]", b"\xff", b"{"])
def test_messages_do_not_repeat_secrets(writer: Writer, content: bytes) -> None:
    body = named(type="kubernetes.io/dockercfg", data={".dockercfg": b64(content)})
    found = writer.create_problems("secrets", body)
    assert len(found) == 1
    assert found[0].startswith('data[.dockercfg]: Invalid value: "<secret contents redacted>": ')
    assert "word" not in found[0]


def test_the_type_of_a_secret_stays(writer: Writer) -> None:
    old = named(type="example.com/own")
    assert writer.update_problems("secrets", named(type="example.com/own"), old) == []
    for body in (named(type="Opaque"), named()):
        assert writer.update_problems("secrets", body, old) == [
            'type: Invalid value: "Opaque": field is immutable'
        ]


def test_service_defaults(writer: Writer) -> None:
    body = named(spec={"ports": [{"port": 80}, {"port": 81, "targetPort": "web"}]})
    plain = codec.decode_plain(codec.encode(writer.create("services", body)))
    assert plain["spec"] == {
        "ports": [
            {"protocol": "TCP", "port": 80, "targetPort": 80},
            {"protocol": "TCP", "port": 81, "targetPort": "web"},
        ],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
    }


@pytest.mark.parametrize(
    ("spec", "name", "expected"),
    [
        ({"type": "NodePort"}, "externalTrafficPolicy", "Cluster"),
        ({"type": "LoadBalancer"}, "allocateLoadBalancerNodePorts", True),
        ({"type": "ExternalName"}, "internalTrafficPolicy", None),
        (
            {"sessionAffinity": "ClientIP"},
            "sessionAffinityConfig",
            {"clientIP": {"timeoutSeconds": 10800}},
        ),
        ({"sessionAffinityConfig": {"clientIP": {}}}, "sessionAffinityConfig", None),
    ],
)
def test_service_types(writer: Writer, spec: dict[str, Any], name: str, expected: Any) -> None:
    plain = codec.decode_plain(codec.encode(writer.create("services", named(spec=spec))))
    assert plain["spec"].get(name) == expected
