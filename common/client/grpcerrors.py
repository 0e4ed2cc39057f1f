"""Errors of calls over gRPC as Kubernetes has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio

from common.api.codec import json as codec
from common.api.errors import StatusError

STATUS_KEY = "wherry-status-bin"
_REASONS = {
    grpc.StatusCode.UNAVAILABLE: (503, "ServiceUnavailable"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, "Timeout"),
    grpc.StatusCode.UNAUTHENTICATED: (401, "Unauthorized"),
    grpc.StatusCode.PERMISSION_DENIED: (403, "Forbidden"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (413, "RequestEntityTooLarge"),
}


def status_error(error: grpc.aio.AioRpcError) -> StatusError:
    """What the server has said; without a Status of Kubernetes, what gRPC has found."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            plain = codec.decode_plain(value)
            refusal = StatusError(
                plain["code"], plain["reason"], plain["message"], details=plain.get("details")
            )
            refusal.metadata = plain.get("metadata", {})
            return refusal
    code, reason = _REASONS.get(error.code(), (500, "InternalError"))
    return StatusError(code, reason, error.details() or error.code().name)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of gRPC become StatusErrors."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise status_error(error) from error
