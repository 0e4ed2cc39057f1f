"""A small HTTP client: one GET, a connection each, redirects within the host.

A whole client library would cost the kubelet more memory than all its pods: this is the transport
only, answers are parsed by the one that Python has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from urllib.parse import quote, urljoin, urlsplit

from node import version
from node.probes import answers
from node.probes.answers import Head
from node.probes.base import CheckFailed, HttpAnswer, HttpRequest, PlainHttp

REDIRECTS_MAX = 10
PIECE_BYTES = 16 << 10
ENDLESS_SECONDS = 1.0
"""How long a body is waited for that has no length, from a server that keeps the connection."""
_FOLLOWED = (301, 302, 303, 307, 308)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")
"""What OpenSSL says of an answer that is HTTP."""
_SAFE = "%/:=&?~#+!$,;'@()*[]"
_TIMED_OUT = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"


async def get(request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
    """The answer to a GET. Raises CheckFailed."""
    now = asyncio.get_running_loop().time()
    deadline = now + timeout_seconds if timeout_seconds else None
    url = first_url(request)
    try:
        return await _follow(url, request, deadline)
    except TimeoutError:
        raise CheckFailed(f'Get "{url}": {_TIMED_OUT}') from None


def first_url(request: HttpRequest) -> str:
    """Where the request goes; a path that is a whole URL gives its path and query only."""
    parts = urlsplit(request.path)
    path = quote(parts.path, safe=_SAFE)
    path = path if path.startswith("/") or not path else f"/{path}"
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    return f"{request.scheme}://{address(request.host, request.port)}{path}{query}"


def address(host: str, port: int) -> str:
    """host:port, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _follow(url: str, request: HttpRequest, deadline: float | None) -> HttpAnswer:
    """Get a URL and where it redirects to, as long as that is the same host."""
    first = url
    for _ in range(REDIRECTS_MAX):
        try:
            code, location, body = await _get_once(url, request, deadline)
            target = urljoin(url, location)
            same = urlsplit(target).hostname == urlsplit(first).hostname
        except TimeoutError:
            raise
        except (OSError, EOFError, ValueError) as error:
            if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
                text = "http: server gave HTTP response to HTTPS client"
                raise PlainHttp(f'Get "{url}": {text}') from error
            raise CheckFailed(f'Get "{url}": {reason(error, url)}') from error
        if code not in _FOLLOWED or not location:
            return HttpAnswer(code, body)
        if not same or urlsplit(target).scheme not in ("http", "https"):
            return HttpAnswer(code, body)
        url = target
    raise CheckFailed(f'Get "{url}": stopped after 10 redirects')


def reason(error: Exception, url: str) -> str:
    """An error of the connection in the words of Kubernetes' own client."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if isinstance(error, ConnectionResetError):
        return "read: connection reset by peer"
    if isinstance(error, EOFError):
        return "EOF"
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    if isinstance(error, OSError):
        said = dial_reason(error)
        return f"dial tcp {address(parts.hostname or '', port)}: {said}"
    return f"net/http: malformed HTTP response: {error}"


def dial_reason(error: OSError) -> str:
    """Why a connection could not be made."""
    known = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
    return f"connect: {known}"


async def _get_once(url: str, request: HttpRequest, deadline: float | None) -> tuple[int, str, str]:
    """(status code, Location, beginning of the body) of one GET. Raises TimeoutError."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout_at(deadline):
            # The server's name is not sent for an address: it would be no name.
            reader, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=_unverified() if secure else None
            )
            writer.write(_head(parts.netloc, parts.path, parts.query, request))
            await writer.drain()
            head, rest = await _read_head(reader)
        body = await _read_body(reader, head, rest, deadline)
        return head.code, head.location, body.decode("utf-8", "replace")
    finally:
        if writer is not None:
            # Not after a close(): of a connection that the peer has closed, that makes abort() fail
            # in Python 3.11.2 (its TLS transport has lost its protocol then).
            with contextlib.suppress(OSError):
                writer.transport.abort()


def _unverified() -> ssl.SSLContext:
    """TLS with whoever answers: a probe asks how a container is, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loads no authorities: they cost memory
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _head(netloc: str, path: str, query: str, request: HttpRequest) -> bytes:
    """The request line and the headers. Line ends within a header are refused."""
    given = {name.lower(): value for name, value in request.headers}
    lines = [f"GET {path or '/'}{'?' + query if query else ''} HTTP/1.1"]
    lines.append(f"Host: {given.get('host') or netloc}")
    if "user-agent" not in given:
        lines.append(f"User-Agent: kube-{request.agent}/{version.MINOR}")
    if "accept" not in given:
        lines.append("Accept: */*")
    for name, value in request.headers:
        if name.lower() == "host" or (name.lower() == "accept" and not value):
            continue
        lines.append(f"{name}: {value}")
    lines.append("Connection: close")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line end within a header")
    return "\r\n".join([*lines, "", ""]).encode()


async def _read_head(reader: asyncio.StreamReader) -> tuple[Head, bytes]:
    """The head of the answer, and what has come of the body."""
    text = b""
    while (taken := answers.take_head(text)) is None:
        piece = await reader.read(PIECE_BYTES)
        if not piece:
            raise EOFError
        text += piece
    return taken


async def _read_body(
    reader: asyncio.StreamReader, head: Head, text: bytes, deadline: float | None
) -> bytes:
    """The beginning of the body; one cut short is no failure. Raises TimeoutError for one whose
    end is known, and does not come."""
    endless = head.length is None and not head.chunked
    until = deadline
    if endless:
        soon = asyncio.get_running_loop().time() + ENDLESS_SECONDS
        until = soon if deadline is None else min(soon, deadline)
    try:
        async with asyncio.timeout_at(until):
            while (body := answers.take_body(head, text)) is None:
                piece = await reader.read(PIECE_BYTES)
                if not piece:
                    return answers.begun(head, text)
                text += piece
            return body
    except TimeoutError:
        if endless:
            return answers.begun(head, text)
        raise
    except ConnectionResetError:
        return answers.begun(head, text)
