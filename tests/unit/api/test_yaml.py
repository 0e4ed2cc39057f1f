"""YAML: the types of JSON, and no more work than its size."""

from __future__ import annotations

import time
from typing import Any

import pytest

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
