"""Integers in labels, annotations and percentages."""

import pytest

from common.api import integers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("007", 7),
        ("9" * 18, 10**18 - 1),
        ("3546343826724305832", 3546343826724305832),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("0" * 50 + "7", 7),
        ("9" * 19, None),
        ("9" * 5000, None),
        ("1_000", None),
        ("٣", None),
        (" 1", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_integers_are_those_of_go(text: str, number: int | None) -> None:
    assert integers.parse(text) == number
