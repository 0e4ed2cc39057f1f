"""Errors over gRPC: the code that fits a Status best, and the Status itself beside it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc

from common.api import errors
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.limits.ratelimitedlog import RateLimitedLog
from common.runtime.clock import SystemClock
from master.apiserver.auth.live import ending

log = logging.getLogger(__name__)
denials = RateLimitedLog(log, SystemClock(), per_second=5.0, burst=100.0)
"""Strangers can cause as many as they like."""
STATUS_KEY = "wherry-status-bin"
# Peers refuse headers of more than 8 KiB in all: base64 makes the Status longer by a third, percent
# signs the message by up to twelve times.
STATUS_MAX_BYTES = 3072
MESSAGE_MAX_CHARACTERS = 256
Code = grpc.StatusCode
CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    406: Code.INVALID_ARGUMENT,
    409: Code.ABORTED,
    410: Code.OUT_OF_RANGE,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    422: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


def code_of(error: StatusError) -> grpc.StatusCode:
    """The gRPC code of an answer that is not a success."""
    if error.reason == "AlreadyExists":
        return Code.ALREADY_EXISTS
    return CODES.get(error.code, Code.UNKNOWN)


def status_bytes(error: StatusError) -> bytes:
    """The Status as JSON; one that does not fit into headers has a short message and no details."""
    plain = error.status()
    data = codec.encode(plain)
    if len(data) > STATUS_MAX_BYTES:
        plain.pop("details", None)
        data = codec.encode({**plain, "message": error.message[:MESSAGE_MAX_CHARACTERS]})
    return data


async def refuse(context: Any, error: StatusError) -> None:
    """End a call with an error; always raises."""
    await context.abort(
        code_of(error),
        error.message[:MESSAGE_MAX_CHARACTERS],
        ((STATUS_KEY, status_bytes(error)),),
    )


@contextlib.asynccontextmanager
async def answering(context: Any, method: str) -> AsyncIterator[None]:
    """Whatever goes wrong inside becomes a Status; denials are logged, never the credentials."""
    try:
        with ending():
            yield
    except StatusError as error:
        if error.code in (401, 403):
            denials.warning(
                "call denied", object=method, source=context.peer(), cause=error.message
            )
        await refuse(context, error)
    except Exception:
        log.exception("a call failed", extra={"object": method})
        await refuse(context, errors.internal("see the log of wherry-master"))
