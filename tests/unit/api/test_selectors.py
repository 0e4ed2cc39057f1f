"""Selectors against a table of upstream's results, and their cost."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from common.api import fields, labels
from common.api.types.meta_v1 import LabelSelector, LabelSelectorRequirement
from master.apiserver.resources.core.pod import pod
from tests.fakes.cputime import least_cpu_seconds

TABLE = Path(__file__).parent / "golden" / "selectors.jsonl"
CASES = [json.loads(line) for line in TABLE.read_text().splitlines()]
LABELS = [case for case in CASES if case["op"] == "labels"]
FIELDS = [case for case in CASES if case["op"] == "fields"]
OFFERED = {"pods": pod.FIELDS, "configmaps": {}, "replicasets": {}}
FOUND: list[dict[str, str]] = [{}, {"a": "b"}, {"a": ""}, {"a": "3", "b": "c", "d": "e"}]


def matches(text: str) -> list[bool]:
    selector = labels.parse(text)
    return [selector.matches(found) for found in FOUND]


@pytest.mark.parametrize("case", LABELS, ids=lambda case: repr(case["text"])[:40])
def test_label_selectors_are_read_as_upstream_reads_them(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(labels.InvalidSelector):
            labels.parse(case["text"])
    else:
        assert matches(case["text"]) == matches(case["result"])


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: repr(case["text"])[:40])
def test_field_selectors_are_read_as_upstream_reads_them(
    case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "COMMON", ("a", "c", "", "!a", " a ", "a\\"))
    if "error" in case:
        with pytest.raises(fields.InvalidFieldSelector):
            fields.parse(case["text"], pod.FIELDS)
    else:
        assert fields.parse(case["text"], pod.FIELDS) == fields.parse(case["result"], pod.FIELDS)


def test_commas_in_values_are_escaped() -> None:
    [one, other] = fields.parse(r"metadata.name=a\,b\\c,metadata.namespace!=x\=y", {})
    assert (one.value, one.equal) == ("a,b\\c", True)
    assert (other.value, other.equal) == ("x=y", False)


@pytest.mark.parametrize(
    ("kind", "field", "text"),
    [
        ("pods", "spec.x", "field label not supported: spec.x"),
        (
            "configmaps",
            "data.k",
            '"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (
            "replicasets",
            "status.replicas",
            '"status.replicas" is not a known field selector: only "metadata.name", '
            '"metadata.namespace"',
        ),
    ],
)
def test_unknown_fields_are_refused_in_upstreams_words(kind: str, field: str, text: str) -> None:
    with pytest.raises(fields.InvalidFieldSelector) as raised:
        fields.parse(f"{field}=1", OFFERED[kind])
    assert str(raised.value) == text


@pytest.mark.parametrize(
    "text",
    [
        ",".join(f"!k{number}" for number in range(257)),
        "a in (" + "b," * 10_000 + ")",
        "a in (" * 2_000,
        "!" * 16_000,
        "(" * 16_000,
        " " * 16_000 + "=",
    ],
)
def test_what_is_too_much_is_refused_at_once(text: str) -> None:
    def refused() -> None:
        with pytest.raises(labels.InvalidSelector):
            labels.parse(text)

    assert least_cpu_seconds(refused) < 0.05


def test_many_values_are_looked_up_once() -> None:
    selector = labels.parse("a in (" + ",".join(f"v{number}" for number in range(2_500)) + ")")
    start = time.process_time()
    assert not any(selector.matches({"a": f"x{number}"}) for number in range(50_000))
    assert time.process_time() - start < 0.5
    assert len(labels.parse(",".join(["a=b"] * 4_000)).requirements) == 1


def test_too_many_fields_are_refused() -> None:
    text = ",".join(f"metadata.name!=n{number}" for number in range(257))
    for asked in (text, "metadata.name=" + "x" * 16_384):
        with pytest.raises(fields.InvalidFieldSelector):
            fields.parse(asked, pod.FIELDS)


def test_a_value_among_thousands_is_found_at_once() -> None:
    """A tuple would be compared value by value, for each pod."""
    values = tuple(f"v{number}" for number in range(5000))
    expressions = (LabelSelectorRequirement(key="a", operator="NotIn", values=values),)
    selector = labels.from_label_selector(LabelSelector(matchExpressions=expressions))
    assert isinstance(selector.requirements[0].values, frozenset)
    assert selector.matches({"a": "w"})
    assert not selector.matches({"a": "v4999"})
