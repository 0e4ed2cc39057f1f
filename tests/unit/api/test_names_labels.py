"""Names, labels, and the selectors of both."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api import fields, labels, names
from common.api.types.meta_v1 import LabelSelector, LabelSelectorRequirement
from master.apiserver.resources.core.pod import pod
from master.storage.keys import REGISTRY, InvalidKey, registry_key

TRICKS = [
    "",
    ".",
    "..",
    "%2e%2e",
    "%2f",
    "a/b",
    "a\n",
    "a\0",
    " a",
    "a ",
    "\u0410",
    "\uff41",
    "ä",
    "a\u200b",
    "A",
    "-a",
    "a-",
    "a_b",
    "a..b",
    "a" * 254,
]


@pytest.mark.parametrize("text", TRICKS)
def test_no_trick_is_a_name(text: str) -> None:
    assert names.dns_label(text)
    assert names.dns_subdomain(text)


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a" * 63])
def test_labels(text: str) -> None:
    assert names.dns_label(text) == []
    assert names.dns_subdomain(text) == []


def test_subdomains_are_longer_and_have_dots() -> None:
    assert names.dns_subdomain("a.b-c.0") == []
    assert names.dns_subdomain(".".join(["a" * 62] * 4)) == []
    assert names.dns_label("a.b")
    assert names.dns_label("a" * 64) == ["must be no more than 63 characters"]
    assert names.dns_subdomain("a" * 254) == ["must be no more than 253 characters"]


@pytest.mark.parametrize("text", ["a", "A_b.c-0", "example.com/a", "a" * 63, "0.b/" + "x" * 63])
def test_qualified_names(text: str) -> None:
    assert names.qualified_name(text) == []


@pytest.mark.parametrize(
    "text", ["", "/a", "a/", "a/b/c", "A.com/a", "-a", "a-", "a b", "a\n", "ä", "a" * 64, "a_b/c"]
)
def test_what_is_no_qualified_name(text: str) -> None:
    assert names.qualified_name(text)


@pytest.mark.parametrize(("text", "good"), [("", True), ("A.b_c-1", True), ("a/b", False)])
def test_label_values(text: str, good: bool) -> None:
    assert (names.label_value(text) == []) is good
    assert names.label_value("x" * 64) == ["must be no more than 63 characters"]
    assert names.label_value("a\n")


@pytest.mark.parametrize(
    ("text", "good"),
    [("http", True), ("a-1", True), ("1", False), ("a--b", False), ("-a", False), ("A", False)],
)
def test_port_names(text: str, good: bool) -> None:
    assert (names.port_name(text) == []) is good
    assert names.port_name("a" * 16) == ["must be no more than 15 characters"]


@given(st.text(max_size=300), st.text(max_size=300))
def test_keys_never_leave_their_prefix(namespace: str, name: str) -> None:
    try:
        key = registry_key("pods", name, namespace)
    except InvalidKey:
        return
    expected = REGISTRY + "/".join(["pods", *([namespace] if namespace else []), name])
    assert key == expected
    assert not set(key.split("/")) & {".", ".."}


@pytest.mark.parametrize("rule", [names.dns_label, names.dns_subdomain])
@given(text=st.from_regex(r"[a-z0-9.\-]{0,12}\n?", fullmatch=True))
def test_rules_are_the_patterns_that_they_name(rule: Callable[[str], list[str]], text: str) -> None:
    told = re.search("validation is '(.*)'", rule("!")[-1])
    assert told is not None
    assert (rule(text) == []) == bool(re.fullmatch(told[1], text))


def test_generated_names_fit() -> None:
    assert names.generated("web-", "abcde") == "web-abcde"
    assert len(names.generated("x" * 100, "abcde")) == 63


FOUND = {"app": "web", "tier": "1", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier=1", True),
        ("app!=web", False),
        ("other!=x", True),
        ("app in (web,db)", True),
        ("app in (db)", False),
        ("app notin (db)", True),
        ("other notin (db)", True),
        ("app", True),
        ("!app", False),
        ("! other", True),
        ("tier>0", True),
        ("tier<1", False),
        ("app>0", False),
        ("other>0", False),
        ("empty=", True),
        ("empty in ()", True),
        ("app in (,web)", True),
    ],
)
def test_selectors(text: str, matches: bool) -> None:
    assert labels.parse(text).matches(FOUND) is matches


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a=b,",
        "a=b,,c=d",
        "a in",
        "a in b",
        "a in (b",
        "a=b c",
        "=b",
        "a>x",
        "a><1",
        "a=b=c",
        "-a",
        "a=b/c",
        "a in (b c)",
        "(a)",
        "a=" + "x" * 64,
        "x" * 20_000,
    ],
)
def test_bad_selectors(text: str) -> None:
    with pytest.raises(labels.InvalidSelector):
        labels.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        selector = labels.parse(text)
    except labels.InvalidSelector:
        return
    again = labels.parse(str(selector))
    assert [again.matches(found) for found in ({}, FOUND)] == [
        selector.matches(found) for found in ({}, FOUND)
    ]


def test_selectors_of_specs() -> None:
    assert not labels.from_label_selector(None).matches(FOUND)
    assert labels.from_label_selector(LabelSelector()).matches({})
    expressions = (
        LabelSelectorRequirement(key="app", operator="NotIn", values=("db",)),
        LabelSelectorRequirement(key="tier", operator="Exists"),
        LabelSelectorRequirement(key="x", operator="DoesNotExist"),
    )
    selector = LabelSelector(matchLabels={"app": "web"}, matchExpressions=expressions)
    found = labels.from_label_selector(selector)
    assert found.matches(FOUND)
    assert not found.matches({"app": "web"})
    assert str(found) == "app=web,app notin (db),tier,!x"


def test_field_selectors() -> None:
    found = fields.parse("status.phase!=Failed,spec.nodeName=n,metadata.name==a", pod.FIELDS)
    plain = {"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {}}
    values = fields.values(plain, pod.FIELDS, tuple(r.field for r in found))
    assert all(requirement.matches(values) for requirement in found)
    assert fields.values({}, pod.FIELDS, ("spec.hostNetwork", "status.phase")) == {
        "spec.hostNetwork": "false",
        "status.phase": "",
    }
    assert fields.values({"spec": {"hostNetwork": True}}, pod.FIELDS, ("spec.hostNetwork",)) == {
        "spec.hostNetwork": "true"
    }


@pytest.mark.parametrize("text", ["spec.x=1", "status.phase", "metadata.labels=a", "=a"])
def test_bad_field_selectors(text: str) -> None:
    with pytest.raises(fields.InvalidFieldSelector):
        fields.parse(text, pod.FIELDS)


def test_the_beginning_of_a_name_may_end_with_a_dash() -> None:
    assert names.dns_label(names.prefix_as_name("web-")) == []
    assert names.dns_label(names.prefix_as_name("-")) != []
    assert names.dns_label(names.prefix_as_name("web_")) != []
