"""Checks texts of a pod that are handed to the kernel; a ConfigError names the field. Pure.

The API allows what the kernel does not: a string ends at a NUL, one argument or variable has at
most 128 KiB, and all of them together 6 MiB (execve(2): MAX_ARG_STRLEN, and three quarters of
_STK_LIM).
"""

from __future__ import annotations

from collections.abc import Iterable

ARGUMENT_MAX_BYTES = 128 << 10
ARGUMENTS_MAX_BYTES = 6 << 20
PATH_MAX_BYTES = 4096


class ConfigError(Exception):
    """A container or volume cannot be made from its configuration; the message says why."""


def plain(field: str, text: str) -> str:
    """The text. Raises ConfigError when it holds a NUL."""
    if "\0" in text:
        raise ConfigError(f"{field}: must not contain NUL".replace("\0", "\\0"))
    return text


def path(field: str, text: str) -> str:
    """A path of the container: one that is not absolute begins at its root. Raises ConfigError."""
    return plain(field, text if text.startswith("/") else f"/{text}")


def host_path(field: str, text: str) -> str:
    """A path of the machine, which must be absolute. Raises ConfigError."""
    if not plain(field, text).startswith("/"):
        raise ConfigError(f"{field}: must be an absolute path, not {text[:100]!r}")
    if len(text.encode()) > PATH_MAX_BYTES:
        raise ConfigError(f"{field}: must have at most {PATH_MAX_BYTES} bytes")
    return text


def argument(field: str, text: str) -> str:
    """An argument or variable of a program. Raises ConfigError."""
    if len(plain(field, text).encode()) >= ARGUMENT_MAX_BYTES:
        raise ConfigError(f"{field}: must have less than {ARGUMENT_MAX_BYTES} bytes")
    return text


def check_total(fields: str, texts: Iterable[str]) -> None:
    """Raises ConfigError when a program could not be started with all of these."""
    if sum(len(text.encode()) + 1 for text in texts) > ARGUMENTS_MAX_BYTES:
        raise ConfigError(f"{fields}: must have at most {ARGUMENTS_MAX_BYTES} bytes in all")
