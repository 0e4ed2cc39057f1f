"""Errors as gRPC codes, small enough for headers."""

from __future__ import annotations

import json

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api import errors
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from master.apiserver.rpc.status import STATUS_MAX_BYTES, code_of, status_bytes

PODS = SCHEME.find("pods")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.bad_request("x"), "INVALID_ARGUMENT"),
        (errors.unauthorized(), "UNAUTHENTICATED"),
        (errors.forbidden_request(PODS, "p", "x"), "PERMISSION_DENIED"),
        (errors.unknown_path(), "NOT_FOUND"),
        (errors.method_not_allowed("get", PODS), "UNIMPLEMENTED"),  # type: ignore[arg-type]
        (errors.already_exists(PODS, "p"), "ALREADY_EXISTS"),  # type: ignore[arg-type]
        (errors.conflict(PODS, "p", "x"), "ABORTED"),  # type: ignore[arg-type]
        (errors.expired("x"), "OUT_OF_RANGE"),
        (errors.too_large("x"), "RESOURCE_EXHAUSTED"),
        (errors.unsupported_media_type(()), "INVALID_ARGUMENT"),
        (errors.unprocessable("x"), "INVALID_ARGUMENT"),
        (errors.too_many_requests("x", retry_after_seconds=1), "RESOURCE_EXHAUSTED"),
        (errors.internal("x"), "INTERNAL"),
        (StatusError(502, "InternalError", "x"), "UNAVAILABLE"),
        (errors.unavailable("x"), "UNAVAILABLE"),
        (errors.timeout("x"), "DEADLINE_EXCEEDED"),
        (StatusError(418, "Teapot", "x"), "UNKNOWN"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.reason,
)
def test_codes(error: StatusError, code: str) -> None:
    """One code each."""
    assert code_of(error) == grpc.StatusCode[code]
    assert json.loads(status_bytes(error)) == error.status()


@given(st.text(max_size=5000), st.integers(0, 100))
def test_status_fits_into_headers(message: str, causes: int) -> None:
    """Whatever a message says: short enough, and still a Status with code and reason."""
    details = {"causes": [{"field": f"f{n}", "message": message} for n in range(causes)]}
    text = message.encode("utf-8", "replace").decode()
    data = status_bytes(StatusError(422, "Invalid", text, details=details))
    assert len(data) <= STATUS_MAX_BYTES
    assert json.loads(data)["reason"] == "Invalid"
