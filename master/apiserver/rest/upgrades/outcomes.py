"""What a client is told of a command's end, and what it tells of its terminal. Pure.

Source: k8s.io/apimachinery pkg/util/remotecommand.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from common.api.codec import json as codec
from common.api.errors import StatusError

ERROR, RESIZE = 3, 4
"""The channels of these two, beside those of the process."""


class TerminalSize(msgspec.Struct):
    """In characters; the names are those of Go's struct."""

    Width: Annotated[int, msgspec.Meta(gt=0, le=0xFFFF)]
    Height: Annotated[int, msgspec.Meta(gt=0, le=0xFFFF)]


def terminal_size(data: bytes) -> TerminalSize | None:
    """What a message of the resize channel says; None for anything that is no size."""
    try:
        return msgspec.json.decode(data, type=TerminalSize)
    except (msgspec.DecodeError, ValueError):
        return None


def outcome(exit_code: int) -> bytes:
    """The Status of a command that has ended."""
    if not exit_code:
        return codec.encode({"metadata": {}, "status": "Success"})
    text = f"command terminated with non-zero exit code: exit status {exit_code}"
    return codec.encode(
        {
            "metadata": {},
            "status": "Failure",
            "message": text,
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
        }
    )


def failure(error: StatusError) -> bytes:
    """The Status of a command that could not be run, or not to its end."""
    return codec.encode(error.status())
