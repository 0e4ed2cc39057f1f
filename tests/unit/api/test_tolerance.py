"""What clients write, read as Go, apimachinery and sigs.k8s.io/yaml read it.

Each line of the table holds an operation, its input, and upstream's result or error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.api import errors, quantity
from common.api.codec import json as codec
from common.api.codec import tolerance, yaml
from common.api.types.coordination_v1 import Lease
from common.api.types.core_v1 import ConfigMap, Pod, Secret
from tests.fakes.cputime import least_cpu_seconds

TABLE = Path(__file__).parent / "golden" / "tolerance.jsonl"
CASES = [json.loads(line) for line in TABLE.read_text().splitlines()]
KNOWN = {
    ("yaml", "a: &x [1, 2]\nb: *x\n"): "an alias",
    ("yaml", "a: &x {k: v}\nb: {<<: *x, z: 1}\n"): "an alias",
    ("yaml", "---\na: 1\n---\nb: 2\n"): "a second document is refused rather than lost",
    ("yaml", '"1": x\n1: y\n'): "upstream's result is random",
    ("yaml", "1e6: x\n"): "written as an integer",
    ("quantity", "1e1000000000"): "too large an exponent",
    ("quantity", "1" + "0" * 60): "upstream's result is 1",
    ("quantityjson", '"\\u0031"'): "an escape in a quantity",
    ("timejson", '"0000-01-01T00:00:00Z"'): "the year 0",
    ("intstrjson", "null"): "an unset port is the empty text here",
    ("bytesjson", "null"): "no bytes are no bytes",
    ("decode", '{"binaryData":{"a":null}}'): "no bytes are no bytes",
    ("decode", "null"): "nothing is no object",
}
"""Where we are stricter, or write the same in another form, and why."""
LIMITS = '{"spec":{"containers":[{"resources":{"limits":{"cpu":%s}}}]}}'
PORT = '{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":%s}}}]}}'
STRUCTS = {"ConfigMap": ConfigMap, "Pod": Pod}


def member(text: str, cls: Any, *path: str | int) -> Any:
    """A member of the object that a text is decoded to, as it is stored."""
    found: Any = json.loads(codec.encode(codec.decode_request(text.encode(), cls)[0]))
    for name in path:
        found = found.get(name) if isinstance(found, dict) else found[name]
    return found


def read(case: dict[str, Any]) -> tuple[Any, list[str]]:
    """(what we make of an input, what strict decoding finds)."""
    text: str = case["text"]
    match case["op"]:
        case "quantity":
            return quantity.canonical(text), []
        case "quantityjson":
            path = ("spec", "containers", 0, "resources", "limits", "cpu")
            return member(LIMITS % text, Pod, *path), []
        case "timejson":
            data = f'{{"metadata":{{"creationTimestamp":{text}}}}}'
            return member(data, ConfigMap, "metadata", "creationTimestamp"), []
        case "intstrjson":
            path = ("spec", "containers", 0, "livenessProbe", "httpGet", "port")
            return member(PORT % text, Pod, *path), []
        case "bytesjson":
            return member(f'{{"binaryData":{{"a":{text}}}}}', ConfigMap, "binaryData", "a"), []
        case "yaml":
            return yaml.decode_request(text.encode())
    value, findings = codec.decode_request(text.encode(), STRUCTS[case["kind"]])
    plain = json.loads(codec.encode(value))
    return {k: v for k, v in plain.items() if k not in ("apiVersion", "kind")}, sorted(findings)


def same_amount(ours: str, case: dict[str, Any]) -> bool:
    """Upstream keeps some texts as they are written, and numbers over 64 bits."""
    theirs = case["result"]
    kept = theirs in case["text"].strip('" ') or abs(quantity.parse(theirs)) >= 2**63 - 1
    return quantity.parse(ours) == quantity.parse(theirs) and (kept or ours == theirs)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if (case["op"], case["text"]) not in KNOWN],
    ids=lambda case: f"{case['op']}-{case['text'][:40]!r}",
)
def test_inputs_are_read_as_upstream_reads_them(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises((errors.StatusError, quantity.InvalidQuantity)) as raised:
            read(case)
        assert getattr(raised.value, "code", 400) == 400
        return
    found, findings = read(case)
    if case["op"] in ("quantity", "quantityjson"):
        assert same_amount(found, case)
    else:
        assert found == case["result"]
        assert json.dumps(found, sort_keys=True) == json.dumps(case["result"], sort_keys=True)
        assert findings == case.get("findings", [])


def test_what_is_known_to_differ_still_does() -> None:
    for case in CASES:
        if (case["op"], case["text"]) in KNOWN:
            try:
                assert read(case)[0] != case.get("result")
            except errors.StatusError as error:
                assert error.code == 400
            except quantity.InvalidQuantity:
                assert "result" in case


@pytest.mark.parametrize("text", ["1" * 5000, "9" * 101, "." * 9000, "e" * 9000, "1e" * 5000])
def test_long_quantities_are_refused_at_once(text: str) -> None:
    def refused() -> None:
        with pytest.raises(quantity.InvalidQuantity):
            quantity.parse(text)

    assert least_cpu_seconds(refused) < 0.01


def test_line_ends_in_bytes_are_ignored_in_every_codec() -> None:
    wrapped = "YWJj\r\nZGVm\n"
    body = json.dumps({"data": {"k": wrapped}}).encode()
    assert codec.decode_request(body, Secret)[0].data == {"k": b"abcdef"}
    plain = yaml.decode(b"data:\n  k: |\n    YWJj\n    ZGVm\n")
    assert codec.convert_request(plain, Secret)[0].data == {"k": b"abcdef"}


@pytest.mark.parametrize("number", [256, -1, True, "a", None])
def test_a_list_that_is_not_of_bytes_is_refused(number: Any) -> None:
    with pytest.raises(errors.StatusError) as raised:
        codec.convert_request({"data": {"k": [number]}}, Secret)
    assert raised.value.code == 400


def test_escaped_backslashes_are_no_surrogates() -> None:
    for text in (rb'"\\ud800"', rb'"\\\\ud800"', rb'"\ud83d\ude00"'):
        assert tolerance.mended_json(text) == text
    assert json.loads(tolerance.mended_json(rb'"\\\ud800\ud800\udc00\udc00"')) == (
        "\\\ufffd\U00010000\ufffd"
    )
    assert codec.decode_plain(b'{"a":"\xff"}') == {"a": "\ufffd"}
    value, findings = codec.decode_request(b'{"data":{"a":"\xff","a":"\\ud800"}}', ConfigMap)
    assert (value.data, findings) == ({"a": "\ufffd"}, ['duplicate field "data.a"'])


@pytest.mark.parametrize(
    ("renewed", "stored"),
    [
        ("0001-01-01T00:00:00.000000Z", None),
        ("0001-01-01T00:00:00.000001Z", "0001-01-01T00:00:00.000001Z"),
        ("2026-01-01T00:00:00.5+01:00", "2025-12-31T23:00:00.500000Z"),
    ],
)
def test_the_zero_time_is_none_at_all(renewed: str, stored: str | None) -> None:
    found, _ = codec.convert_request({"spec": {"renewTime": renewed}}, Lease)
    assert found.spec.renewTime == stored
