"""Integers that people wrote into labels, annotations and percentages."""

from __future__ import annotations

import re

_INTEGER = re.compile("[+-]?[0-9]{1,18}")


def parse(text: str) -> int | None:
    """The number, or None: Python reads more than Go does (`1_000`), and refuses 5,000 digits."""
    return int(text) if _INTEGER.fullmatch(text) else None
