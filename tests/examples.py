"""How many random examples a test tries."""

from __future__ import annotations

from hypothesis import settings

LONG_ROUNDS = 50


def examples(count: int) -> int:
    """`count`, or many more in the long run."""
    return count * (LONG_ROUNDS if settings.get_current_profile_name() == "long" else 1)
