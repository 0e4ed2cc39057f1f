"""Settings whose text must have a form: the type of a field says which."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec


class Form(NamedTuple):
    """What the text of a setting must be like; annotated to its type."""

    problem: Callable[[str], str]
    """What is wrong with a text; nothing when it is as it should be."""


def problems(kind: Any, value: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    """What is wrong with a setting of a type, and where in it. Empty texts are not set."""
    if isinstance(value, tuple):
        member = get_args(plain(kind))[0]
        for index, one in enumerate(value):
            yield from (((index, *path), said) for path, said in problems(member, one))
    elif isinstance(value, str) and value:
        for form in getattr(kind, "__metadata__", ()):
            if isinstance(form, Form) and (said := form.problem(value)):
                yield (), said


def plain(kind: Any) -> Any:
    """A type without what is annotated to it."""
    return get_args(kind)[0] if hasattr(kind, "__metadata__") else kind


def cidr(text: str, *, prefix_max: int = 28) -> str:
    """What is wrong with an IPv4 network; its prefix may be that long."""
    try:
        network = IPv4Network(text)
    except ValueError:
        return f"{text!r} is not an IPv4 network such as 10.0.0.0/16"
    return (
        "" if network.prefixlen <= prefix_max else f"{text!r} is too small: at most /{prefix_max}"
    )


def _address(text: str) -> str:
    try:
        IPv4Address(text)
    except ValueError:
        return f"{text!r} is not an IPv4 address such as 192.0.2.1"
    return ""


def _master_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        whole = f"https://{parts.hostname}:{parts.port}"
    except ValueError:
        whole = ""
    if text.lower().rstrip("/") == whole:
        return ""
    return f"{text!r} is not a URL such as https://MASTER:6443"


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile("([0-9]{1,6})([smhd])")


def seconds_of(text: str) -> int:
    """The seconds of `90s`, `30m`, `1h` or `2d`; raises ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30m, 1h or 2d")
    return int(match[1]) * _UNITS[match[2]]


def duration(text: str, *, least: int, most: int) -> str:
    """What is wrong with a duration; it has so many seconds."""
    try:
        seconds = seconds_of(text)
    except ValueError as error:
        return str(error)
    return "" if least <= seconds <= most else f"{text!r} is not within {least} s and {most} s"


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Address = Annotated[str, Form(_address)]
Cidr = Annotated[str, Form(cidr)]
MasterUrl = Annotated[str, Form(_master_url)]
