"""Default factories of fields that Kubernetes writes even when they are empty.

msgspec's `omit_defaults` drops plain defaults and the factories `list` and `dict`; a function of
our own is kept, and so the field is always written.
"""

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def constant(value: str) -> Callable[[], str]:
    """A factory of one string: apiVersion and kind."""
    return lambda: value


def zero_str() -> Any:
    """The empty string, also for the types made of str."""
    return ""


def zero_quantity() -> Any:
    """The quantity 0; the empty string is none."""
    return "0"


def zero_bool() -> bool:
    """False."""
    return False


def zero_int32() -> int:
    """Zero."""
    return 0


def zero_int64() -> int:
    """Zero."""
    return 0


def zero_float() -> float:
    """Zero."""
    return 0.0


def zero_bytes() -> bytes:
    """No bytes."""
    return b""


def empty_list() -> tuple[Any, ...]:
    """The empty sequence, written as []."""
    return ()


def empty_map() -> dict[str, Any]:
    """A new empty map, written as {}."""
    return {}


def null() -> None:
    """None, written as null."""
    return
