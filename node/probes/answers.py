"""Answers of HTTP servers, by the parser of Python's own client: it knows what they send. Pure.

What has come so far is parsed anew with each piece: that is 10 KiB at the most after the head.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import NamedTuple

from node.probes.base import BODY_MAX_BYTES

HEAD_MAX_BYTES = 64 << 10
_CODED_MAX_BYTES = 4 * BODY_MAX_BYTES
"""Of a body in chunks, which has as many bytes beside as its server likes."""
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d\b")
"""Of 1xx, 101 alone is an answer: the server speaks something else from now on."""
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class Malformed(ValueError):
    """It is no answer of HTTP."""


class Head(NamedTuple):
    """What comes before a body."""

    code: int
    location: str
    text: bytes
    """The head itself."""
    length: int | None
    """Bytes of the body; None where the end of the connection is its end, or where it is coded."""
    chunked: bool


class _Text:
    """What the client takes for a connection."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def makefile(self, *_: object) -> io.BytesIO:
        """All of it."""
        return io.BytesIO(self._text)


def take_head(text: bytes) -> tuple[Head, bytes] | None:
    """The head that a text begins with, and the rest; None when it has not come whole.

    Heads that announce another are passed over. Raises Malformed.
    """
    while end := _END_OF_HEAD.search(text):
        head, text = text[: end.end()], text[end.end() :]
        if not _INTERIM.match(head):
            return _parse(head), text
    if len(text) > HEAD_MAX_BYTES:
        raise Malformed("the headers are too long")
    return None


def take_body(head: Head, text: bytes) -> bytes | None:
    """The beginning of the body; None when it has not come so far, or has no end but that of the
    connection."""
    if head.chunked:
        try:
            return _response(head.text + text).read(BODY_MAX_BYTES)
        except http.client.IncompleteRead:
            return begun(head, text) if len(text) > _CODED_MAX_BYTES else None
    wanted = BODY_MAX_BYTES if head.length is None else min(head.length, BODY_MAX_BYTES)
    return text[:wanted] if len(text) >= wanted else None


def begun(head: Head, text: bytes) -> bytes:
    """What there is of a body that will not be whole."""
    if not head.chunked:
        return text[:BODY_MAX_BYTES]
    try:
        return _response(head.text + text).read(BODY_MAX_BYTES)
    except http.client.IncompleteRead as error:
        return error.partial[:BODY_MAX_BYTES]


def _parse(text: bytes) -> Head:
    response = _response(text)
    location = response.getheader("Location") or ""
    length = None if response.chunked else response.length
    return Head(response.status, location, text, length, bool(response.chunked))


def _response(text: bytes) -> http.client.HTTPResponse:
    """Raises Malformed."""
    response = http.client.HTTPResponse(_Text(text), method="GET")  # type: ignore[arg-type]
    try:
        response.begin()
    except (http.client.HTTPException, ValueError) as error:
        raise Malformed(str(error) or type(error).__name__) from error
    return response
