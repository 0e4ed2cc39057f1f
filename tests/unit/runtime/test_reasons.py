"""What went wrong outside, in words without Python's numbers and brackets."""

from __future__ import annotations

import socket
import ssl

import pytest

from common.runtime.reasons import of_certificate, reason


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "UNKNOWN: ipv4:127.0.0.1:1: Tls handshake failed: SSL_ERROR_SSL: error:1000007d:SSL "
            "routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate is not yet valid: OK",
            "its certificate is not valid yet: compare the clocks of this machine and that one",
        ),
        (
            "certificate has expired",
            "its certificate has expired: compare the clocks of this machine and that one",
        ),
        ("self-signed certificate", ""),
    ],
)
def test_dates_of_certificates(text: str, said: str) -> None:
    assert of_certificate(text) == said
