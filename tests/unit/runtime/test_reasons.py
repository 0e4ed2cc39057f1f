"""What went wrong outside, in words without Python's numbers and brackets."""

from __future__ import annotations

import socket
import ssl

import pytest

from common.runtime.reasons import reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "/x"), "no such file or directory"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (TimeoutError(), "timed out"),
        (TimeoutError("timed out"), "timed out"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION] wrong version (_ssl.c:1006)"), "wrong version"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "it is not UTF-8 text"),
        (ValueError("EOF here"), "EOF here"),
        (ValueError(), "ValueError"),
    ],
)
def test_reasons(error: Exception, said: str) -> None:
    assert reason(error) == said
