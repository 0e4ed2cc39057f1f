"""What goes on of the heads of requests and answers, and where links lead. Pure.

The credentials of a request are meant for the API server and end here. Cookies go on: the API
server has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import h11

from common.api import errors

RawHeaders = Sequence[tuple[bytes, bytes]]
_OF_CONNECTIONS = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_FOR_US = frozenset((b"authorization", b"expect", b"x-forwarded-uri", b"x-forwarded-for"))
_IMPERSONATION = b"impersonate-"
_BEARER_PROTOCOL = b"base64url.bearer.authorization.k8s.io."
"""How browsers' WebSockets carry a token: as an offer of a protocol."""
_CROSS_ORIGIN = frozenset(
    b"access-control-allow-" + what for what in (b"credentials", b"headers", b"methods", b"origin")
)
"""A program must not open the API server's origin to others."""


class Asked(NamedTuple):
    """A client's request."""

    method: str
    prefix: str
    """Its raw path up to `/proxy`."""
    target: str
    """What comes behind, raw, with the query."""
    headers: RawHeaders
    source: str
    """The client's address."""


class Replied(NamedTuple):
    """The head of an answer, as it goes to the client."""

    status: int
    reason: str
    headers: Sequence[tuple[str, str]]
    is_page: bool
    """HTML whose links are to be rewritten."""


def request_head(asked: Asked, host: str) -> h11.Request:
    """The head that a program gets; raises StatusError 400.

    `host` is what the program is known by, for clients of HTTP/1.0 that name no host.
    """
    headers = _forwarded(asked.headers)
    if not _values(headers, b"host"):
        headers.append((b"Host", host.encode()))
    if _values(asked.headers, b"transfer-encoding"):
        headers.append((b"Transfer-Encoding", b"chunked"))
    sources = [*_values(asked.headers, b"x-forwarded-for"), asked.source.encode()]
    headers.append((b"X-Forwarded-For", b", ".join(sources)))
    path = asked.target.partition("?")[0]
    headers.append((b"X-Forwarded-Uri", _bytes(asked.prefix + path)))
    if is_upgrade(asked.headers):
        protocols = b", ".join(_values(asked.headers, b"upgrade"))
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", protocols)]
    else:
        headers.append((b"Connection", b"close"))
    try:
        return h11.Request(method=asked.method, target=_bytes(asked.target), headers=headers)
    except h11.LocalProtocolError as error:
        raise errors.bad_request(f"the request cannot be passed on: {error}") from error


def _forwarded(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Those of a client's that are for the program, without a token among the protocols."""
    forwarded = []
    for name, value in _passing(headers):
        lower = name.lower()
        if lower == b"sec-websocket-protocol":
            offers = [offer.strip() for offer in value.split(b",")]
            value = b", ".join(o for o in offers if not o.startswith(_BEARER_PROTOCOL))
            if not value:
                continue
        if lower not in _FOR_US and not lower.startswith(_IMPERSONATION):
            forwarded.append((name, value))
    return forwarded


def is_upgrade(headers: RawHeaders) -> bool:
    """Whether a client wants to go on in another protocol."""
    return b"upgrade" in _words(_values(headers, b"connection")) and bool(
        _values(headers, b"upgrade")
    )


def reply_head(head: h11.Response, asked: Asked, host: str) -> Replied:
    """The head of a program's answer. `host` is what the program is known by."""
    own_hosts = [host, *(_text(value) for value in _values(asked.headers, b"host"))]
    headers = []
    for name, value in _passing(head.headers.raw_items()):
        if name.lower() == b"location":
            value = _bytes(relocated(_text(value), asked.prefix, own_hosts))
        if name.lower() not in _CROSS_ORIGIN:
            headers.append((_text(name), _text(value)))
    kinds = [value.partition(b";")[0].strip() for value in _values(head.headers, b"content-type")]
    is_page = kinds == [b"text/html"] and not _values(head.headers, b"content-encoding")
    if is_page:
        headers = [pair for pair in headers if pair[0].lower() != "content-length"]
    return Replied(head.status_code, _text(head.reason), headers, is_page)


def switched_headers(head: h11.InformationalResponse) -> dict[str, str]:
    """The headers of an answer with which a program takes another protocol."""
    return {_text(name): _text(value) for name, value in _passing(head.headers.raw_items())}


def relocated(link: str, prefix: str, own_hosts: Sequence[str]) -> str:
    """A link of a program as its client must follow it: behind the prefix.

    Links to other hosts and relative ones stay as they are. `own_hosts` are the program's host
    and the one that the client has asked.
    """
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    if (parts.netloc and parts.netloc not in own_hosts) or not parts.path.startswith("/"):
        return link
    if parts.netloc not in own_hosts[1:]:
        parts = parts._replace(scheme="", netloc="")
    if parts.path != prefix and not parts.path.startswith(f"{prefix}/"):
        parts = parts._replace(path=prefix + parts.path)
    return urlunsplit(parts)


def _passing(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Those that are not about the connection."""
    found = list(headers)
    dropped = {*_OF_CONNECTIONS, *_words(_values(found, b"connection"))}
    return [(name, value) for name, value in found if name.lower() not in dropped]


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name.lower() == wanted]


def _words(values: Iterable[bytes]) -> set[bytes]:
    return {word.strip().lower() for value in values for word in value.split(b",")}


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
