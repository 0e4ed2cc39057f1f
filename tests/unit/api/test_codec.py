"""JSON at the door: what is taken, what is warned about, what is refused, in which words."""

from __future__ import annotations

from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.codec import strict
from common.api.types.core_v1 import ConfigMap, Pod, Secret

POD = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[]}'
DIGITS = b"1" * 5_000


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_a_pod() -> None:
    value, findings = codec.decode_request(POD + b"}", Pod)
    assert (value.metadata.name, findings) == ("a", [])


BAD = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"{} {}",
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
    POD,
    POD + b',"x":NaN}',
    POD + b',"x":Infinity}',
    POD + b',"x":1e999}',
    POD + b',"x":' + DIGITS + b"}",
    POD + b',"x":1,"x":' + DIGITS + b"}",
    POD + b',"x":' + nested(100_000) + b"}",
    POD + b',"x":1,"x":' + nested(3000) + b"}",
    b'{"metadata":{"name":"a\x00"}}',
    b'{"metadata":{"name":1}}',
    b'{"metadata":[]}',
    b'{"metadata":{"creationTimestamp":"yesterday"}}',
    b'{"metadata":{"creationTimestamp":"0001-01-01T00:00:00+23:00"}}',
    b'{"metadata":{"creationTimestamp":"9999-12-31T23:59:59-23:00"}}',
    b'{"metadata":{"labels":{"a":1}}}',
    b'{"metadata":{"managedFields":[{"fieldsV1":' + nested(50_000) + b"}]}}",
    b'{"spec":{"priority":true}}',
    b'{"spec":{"priority":1.5}}',
    b'{"spec":{"priority":"1"}}',
    b'{"spec":{"priority":2147483648}}',
    b'{"spec":{"terminationGracePeriodSeconds":9223372036854775808}}',
    b'{"spec":{"terminationGracePeriodSeconds":' + DIGITS + b"}}",
    b'{"spec":{"terminationGracePeriodSeconds":1e999}}',
    b'{"spec":{"containers":{}}}',
    b'{"spec":{"containers":[1]}}',
    b'{"spec":{"hostNetwork":1}}',
    b'{"spec":{"hostNetwork":"true"}}',
]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_bad_requests(data: bytes) -> None:
    with pytest.raises(errors.StatusError) as raised:
        codec.decode_request(data, Pod)
    assert raised.value.code == 400
    assert len(raised.value.message) < 10_000


@pytest.mark.parametrize("port", [b"1.5", b"true", b"2147483648", b"99999999999999999999", b"[]"])
def test_ports_are_numbers_of_32_bits_or_names(port: bytes) -> None:
    data = b'{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":' + port + b"}}}]}}"
    with pytest.raises(errors.StatusError) as raised:
        codec.decode_request(data, Pod)
    assert raised.value.code == 400


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b'{"spec":{"priority":true}}',
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal bool into Go '
            "struct field PodSpec.spec.priority of type int32",
        ),
        (
            b'{"spec":{"containers":[{"name":1}]}}',
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into '
            "Go struct field Container.spec.containers.name of type string",
        ),
        (
            b'{"spec":{"priority":1.5}}',
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number 1.5 '
            "into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            b'{"spec":{"containers":"a"}}',
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into '
            "Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            b'{"metadata":{"labels":{"a":1}}}',
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into '
            "Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            b'{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":true}}}]}}',
            'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal bool into Go '
            "value of type int32",
        ),
    ],
)
def test_messages_name_the_place(data: bytes, message: str) -> None:
    with pytest.raises(errors.StatusError) as raised:
        codec.decode_request(data, Pod)
    assert raised.value.message == message


@pytest.mark.parametrize(("text", "place"), [("!!", 0), ("Z", 0), ("Zm9v!", 4), ("Zm9vYg", 4)])
def test_text_that_is_not_base64_is_told_where(text: str, place: int) -> None:
    with pytest.raises(errors.StatusError) as raised:
        codec.decode_request(f'{{"data":{{"a":"{text}"}}}}'.encode(), Secret)
    assert raised.value.message == (
        'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte '
        f"{place}"
    )


def test_a_body_that_ends_too_early() -> None:
    with pytest.raises(errors.StatusError) as raised:
        codec.decode_plain(b'{"a":')
    assert raised.value.message == (
        "couldn't get version/kind; json parse error: unexpected end of JSON input"
    )


@pytest.mark.parametrize(
    ("data", "findings"),
    [
        (b'{"Data":{}}', ['unknown field "Data"']),
        (b'{"dat":{},"x":1}', ['unknown field "dat"', 'unknown field "x"']),
        (b'{"data":{"a":"1","a":"2"}}', ['duplicate field "data.a"']),
        (b'{"data":{},"data":{}}', ['duplicate field "data"']),
        (b'{"metadata":{"nam":"a"}}', ['unknown field "metadata.nam"']),
        (b'{"d\\u0061ta":{},"data":{}}', ['duplicate field "data"']),
        (rb'{"data":{"a":"1","a":"\u0022\u0022\u0022\u0022"}}', ['duplicate field "data.a"']),
        (rb'{"data":{"a":"\u0022"}}', []),
        (b'{"data":{"a":"x\\"y"}}', []),
        (b'{"metadata":null,"data":null}', []),
    ],
)
def test_findings(data: bytes, findings: list[str]) -> None:
    assert codec.decode_request(data, ConfigMap)[1] == findings
    large = data + b" " * strict.C_MAX_BYTES
    assert codec.decode_request(large, ConfigMap)[1] == findings, "read another way"


def test_of_too_many_findings_the_first_are_told() -> None:
    plain = b",".join(b'"u%d":1' % n for n in range(errors.FINDINGS_MAX + 50))
    findings = codec.decode_request(b"{" + plain + b',"data":{},"data":{}}', ConfigMap)[1]
    assert findings == [f'unknown field "u{n}"' for n in range(errors.FINDINGS_MAX)]


@pytest.mark.parametrize(("size", "pauses"), [(1000, 0), (1 << 20, 2)])
def test_who_reads_a_large_body_gives_way(
    monkeypatch: pytest.MonkeyPatch, size: int, pauses: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(codec.time, "sleep", slept.append)
    codec.decode_request(b'{"data":{"a":"%b"}}' % (b"x" * size), ConfigMap)
    assert len(slept) == pauses


def test_the_last_of_duplicates_counts() -> None:
    value, _ = codec.decode_request(b'{"data":{"a":"1","a":"2"}}', ConfigMap)
    assert value.data == {"a": "2"}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ('"1000m"', "1"),
        ('"0.5"', "500m"),
        ("1.5", "1500m"),
        ("2", "2"),
        ('"1024Ki"', "1Mi"),
        ('"1e3"', "1e3"),
    ],
)
def test_quantities_have_one_form(given: str, stored: str) -> None:
    data = '{"spec":{"containers":[{"resources":{"limits":{"cpu":' + given + "}}}]}}"
    value, findings = codec.decode_request(data.encode(), Pod)
    assert findings == []
    assert value.spec.containers[0].resources.limits == {"cpu": stored}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05.999Z", "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05+02:00", "2020-01-02T01:04:05Z"),
        ("0999-01-02T03:04:05Z", "0999-01-02T03:04:05Z"),
    ],
)
def test_times_have_one_form(given: str, stored: str) -> None:
    data = f'{{"metadata":{{"creationTimestamp":"{given}"}}}}'.encode()
    value, _ = codec.decode_request(data, Pod)
    assert value.metadata.creationTimestamp == stored


def test_null_is_unset() -> None:
    plain: dict[str, Any] = {"metadata": {"name": None, "labels": None}, "spec": {"volumes": None}}
    value, findings = codec.convert_request(plain, Pod)
    assert (value, findings) == (Pod(), [])
