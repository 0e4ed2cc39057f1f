"""Integers that people wrote into labels, annotations, percentages and queries."""

from __future__ import annotations

import re

INT64_MAX = 2**63 - 1
_INTEGER = re.compile("[+-]?0*[0-9]{1,19}")
_TEXT_MAX_CHARACTERS = 100


def parse(text: str) -> int | None:
    """The number, or None when Go's strconv.ParseInt would not take it for 64 bits.

    Python reads more than Go does (`1_000`), and refuses 5,000 digits.
    """
    if len(text) > _TEXT_MAX_CHARACTERS or not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -INT64_MAX - 1 <= number <= INT64_MAX else None
