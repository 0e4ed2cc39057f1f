"""What went wrong outside of the program, in words for a person and without Python's own."""

from __future__ import annotations

import re
import ssl

_CLOCKS = "compare the clocks of this machine and that one"
_OF_CERTIFICATE = {
    "certificate is not yet valid": f"its certificate is not valid yet: {_CLOCKS}",
    "certificate has expired": f"its certificate has expired: {_CLOCKS}",
}
"""What OpenSSL and BoringSSL say, and what a person can do about it."""
_OF_SSL = re.compile(r"^\[[A-Z0-9_: ]+\] | ?\(_ssl\.c:\d+\)")


def reason(error: BaseException) -> str:
    """`no such file or directory` of an OSError, without number and file; else its own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message
        return of_certificate(text) or f"its certificate is not trusted: {text}"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    if isinstance(error, ssl.SSLError):
        text = _OF_SSL.sub("", text)
    if not text:
        return "timed out" if isinstance(error, TimeoutError) else type(error).__name__
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def of_certificate(text: str) -> str:
    """What is wrong with the dates of a certificate that somebody complains of; '' for other
    complaints."""
    return next((words for said, words in _OF_CERTIFICATE.items() if said in text), "")
