"""YAML: the types of JSON, and no more work than its size."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from common.api import errors
from common.api.codec import yaml

BOMB = b"a: &a [x, x, x, x]\n" + b"".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n".encode()
    for i in range(9)
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: [x, 'y']\n", {"a": 1, "b": ["x", "y"]}),
        (
            b"a: 2020-01-01\nb: 2020-01-01T00:00:00Z",
            {"a": "2020-01-01", "b": "2020-01-01T00:00:00Z"},
        ),
        (b"a: 22:30\nb: 190:20:30.15", {"a": "22:30", "b": "190:20:30.15"}),
        (
            b"a: 010\nb: 0x1f\nc: -5\nd: 1.5\ne: 1e3",
            {"a": 8, "b": 31, "c": -5, "d": 1.5, "e": 1000},
        ),
        (b"a: yes\nb: ~\nc: ''\nd:", {"a": True, "b": None, "c": "", "d": None}),
        (b"2: a\ntrue: b\n1.5: c", {"2": "a", "true": "b", "1.5": "c"}),
        (b"a: &x 1", {"a": 1}),
        (b"a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        (b'{"a": "\\u00e4"}', {"a": "ä"}),
        (b"", None),
    ],
)
def test_values(data: bytes, expected: Any) -> None:
    assert yaml.decode(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        BOMB,
        b"a: &a [*a]",
        b"[" * 20_000,
        b"[" * 20_000 + b"]" * 20_000,
        b"".join(b" " * i + b"a:\n" for i in range(200)),
        b"a: [",
        b"a: 1\n---\nb: 2\n",
        b"a: \x07",
        b"a: \xff",
        b"~: 1",
        b"[1, 2]: 3",
        b"a: .nan",
        b"a: -.inf",
        b"a: !!binary a",
        b"a: !!int x",
        b"<<: 5",
        b"a: !!bool " + b"1" * 5_000,
    ],
)
def test_bad_requests(data: bytes) -> None:
    with pytest.raises(errors.StatusError) as raised:
        yaml.decode(data)
    assert raised.value.code == 400


def test_a_mebibyte_is_the_limit() -> None:
    with pytest.raises(errors.StatusError) as raised:
        yaml.decode(b"a: " + b"x" * (1 << 20))
    assert raised.value.code == 413


def test_refusals_are_quick() -> None:
    started = time.perf_counter()
    for data in (BOMB, b"[" * 500_000):
        with pytest.raises(errors.StatusError):
            yaml.decode(data)
    assert time.perf_counter() - started < 1.0


def test_a_long_manifest_is_fine() -> None:
    assert len(yaml.decode(b"data:\n" + b"- abcdefgh\n" * 27_000)["data"]) == 27_000


def test_files_have_several_documents() -> None:
    """Every document is read, empty ones are left out, and the same is refused."""
    assert yaml.decode_all(b"a: 1\n---\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    with pytest.raises(errors.StatusError, match="aliases"):
        yaml.decode_all(b"a: 1\n---\na: &x [1]\nb: *x\n")


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e15, 1e15)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.sampled_from(
    [
        "",
        "1",
        "010",
        "1e3",
        "yes",
        "~",
        "null",
        "2020-01-01",
        "- a",
        "a: b",
        " a",
        "a\nb\n",
        "#",
        "=",
        "<<",
    ]
)
PLAIN = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)


@given(st.dictionaries(TEXTS, PLAIN))
def test_what_is_written_is_read_as_it_was(plain: dict[str, Any]) -> None:
    written = yaml.encode(plain)
    assert pyyaml.safe_load(written) == plain
    assert yaml.decode(written) == plain


def test_a_text_that_could_be_another_type_is_quoted() -> None:
    plain = {
        "b": [{"x": 1, "y": "1"}, []],
        "a": {},
        "t": "a\nb",
        "n": None,
        "l": ["yes", True, "1e3", "0x10", "0o10", "1:30"],
    }
    lines = (
        "b:",
        "- x: 1",
        "  'y': '1'",
        "- []",
        "a: {}",
        "t: 'a",
        "",
        "  b'",
        "'n': null",
        "l:",
        "- 'yes'",
        "- true",
        "- '1e3'",
        "- '0x10'",
        "- '0o10'",
        "- '1:30'",
        "",
    )
    assert yaml.encode(plain).decode() == "\n".join(lines)
