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
