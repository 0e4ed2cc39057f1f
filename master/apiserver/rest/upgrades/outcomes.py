"""What a client is told of a command's end, and what it tells of its terminal. Pure.

Source: k8s.io/apimachinery pkg/util/remotecommand.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

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


class End(NamedTuple):
    """How a command has ended, on the channel of errors."""

    status: bytes
    """A Status, as clients read it from v4 on."""
    text: bytes
    """For those before: nothing when all went well."""


def ended(exit_code: int) -> End:
    """A command has run to its end."""
    if not exit_code:
        return End(codec.encode({"metadata": {}, "status": "Success"}), b"")
    text = f"command terminated with non-zero exit code: exit status {exit_code}"
    status = {
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }
    return End(codec.encode(status), text.encode())


def failed(error: StatusError) -> End:
    """A command could not be run, or not to its end."""
    return End(codec.encode(error.status()), error.message.encode())
