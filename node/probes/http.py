"""A small HTTP client: one GET, a connection each, redirects within the host.

Written by hand because a whole client library costs the kubelet more memory than all its pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from urllib.parse import quote, urljoin, urlsplit

from node.probes.base import BODY_MAX_BYTES, CheckFailed, HttpAnswer, HttpRequest, PlainHttp

VERSION = "1.33"
REDIRECTS_MAX = 10
HEAD_MAX_BYTES = 64 << 10
_FOLLOWED = (301, 302, 303, 307, 308)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")
"""What OpenSSL says of an answer that is HTTP."""
_SAFE = "%/:=&?~#+!$,;'@()*[]"
_Head = tuple[int, dict[str, str]]


async def get(request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
    """The answer to a GET. Raises CheckFailed."""
    url = first_url(request)
    try:
        async with asyncio.timeout(timeout_seconds or None):
            return await _follow(url, request)
    except TimeoutError:
        text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        raise CheckFailed(f'Get "{url}": {text}') from None


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


async def _follow(url: str, request: HttpRequest) -> HttpAnswer:
    """Get a URL and where it redirects to, as long as that is the same host."""
    first = url
    for _ in range(REDIRECTS_MAX):
        try:
            code, location, body = await _get_once(url, request)
            target = urljoin(url, location)
            same = urlsplit(target).hostname == urlsplit(first).hostname
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


async def _get_once(url: str, request: HttpRequest) -> tuple[int, str, str]:
    """(status code, Location, beginning of the body) of one GET."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    # The server's name is not sent for an address: it would be no name.
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, limit=HEAD_MAX_BYTES, ssl=_unverified() if secure else None
    )
    try:
        writer.write(_head(parts.netloc, parts.path, parts.query, request))
        await writer.drain()
        code, headers = await _read_head(reader)
        return code, headers.get("location", ""), await _read_body(reader, headers)
    finally:
        writer.close()
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
        lines.append(f"User-Agent: kube-{request.agent}/{VERSION}")
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


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    """(status code, headers by lower case name); answers of 1xx are passed over."""
    while True:
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError as error:
            raise ValueError("the headers are too long") from error
        first, *rest = text.split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise ValueError(repr(first[:100]))
        code = int(words[1])
        if code >= 200:
            pairs = (line.partition(":") for line in rest if line)
            return code, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> str:
    """The beginning of the body, as it is on the wire; a body cut short is no failure."""
    wanted = BODY_MAX_BYTES
    if headers.get("content-length", "").isdigit():
        wanted = min(wanted, int(headers["content-length"]))
    body = bytearray()
    while len(body) < wanted:
        chunk = await reader.read(wanted - len(body))
        if not chunk:
            break
        body += chunk
    return body.decode("utf-8", "replace")
