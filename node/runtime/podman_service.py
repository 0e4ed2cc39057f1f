"""Podman's service on its unix socket: plain calls by podman-py, streams on a connection of ours.

podman-py is used for its transport and asked for Podman's own paths, because many of its calls
lose errors or fields; its calls block, so they run in an Offload. A stream (a pull, a
command's output) would hold a thread for as long as it lasts: it is read on the event loop, in
HTTP/1.0, which needs no framing. Measured: docs/decisions/0003-podman-door.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from common.runtime.offload import Offload
from common.runtime.reasons import reason
from node.runtime.base import RuntimeUnavailable

CALL_TIMEOUT_SECONDS = 60.0
LINE_LIMIT_BYTES = 1 << 20
STREAM_LIMIT_BYTES = 64 << 10
_PREFIX = "/v4.0.0/libpod"
_NO_CONTENT = (204, 304)


class PodmanError(Exception):
    """An answer of 400 or above. The driver translates it; it never leaves node.runtime."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def is_missing(self) -> bool:
        """Whether what was asked for is not there; Podman answers 500 while it is removing it."""
        return self.code == 404 or "no such container" in self.message


class PodmanService:
    """Requests to one service."""

    def __init__(self, socket_path: str, offload: Offload) -> None:
        self._socket_path = socket_path
        self._offload = offload
        self._client: Any = None

    def close(self) -> None:
        """Close the connections that wait for the next call; none may be under way."""
        if self._client is not None:
            self._client.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """One request; its decoded answer, or its text; None when that is empty.

        Raises PodmanError, or RuntimeUnavailable when there is no whole answer in time.
        """
        return await self._offload(self._call_now, method, path, params, body)

    def _call_now(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Any:
        """Runs in a thread. podman-py is imported on first use: it costs 9 MiB."""
        from podman.api.client import APIClient
        from requests.exceptions import RequestException

        def ask() -> Any:
            return calls[method](path, params=params, data=content, headers=headers)

        if self._client is None:
            url = f"http+unix://{quote(self._socket_path, safe='')}"
            self._client = APIClient(base_url=url, timeout=CALL_TIMEOUT_SECONDS)
        calls = {"GET": self._client.get, "POST": self._client.post, "DELETE": self._client.delete}
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = _asked_again(ask) if method == "GET" else ask()
        except (RequestException, OSError) as error:
            raise RuntimeUnavailable(f"Podman does not answer: {reason(error)}") from error
        if answer.status_code >= 400:
            raise PodmanError(answer.status_code, _message(answer.content))
        if answer.status_code in _NO_CONTENT:
            return None
        if answer.headers.get("Content-Type", "").startswith("text/plain"):  # a container's id
            return answer.text.strip()
        return _decode(answer.content)

    async def call_on_loop(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """Like `call`, without a thread: for calls of which many may wait. A new connection each.

        Raises PodmanError and RuntimeUnavailable.
        """
        try:
            async with (
                asyncio.timeout(CALL_TIMEOUT_SECONDS),
                self._open(method, path, params=params, body=body) as (reader, _),
            ):
                content = await reader.read()
                return _decode(content) if content else None
        except (OSError, EOFError) as error:
            raise RuntimeUnavailable(f"Podman does not answer: {reason(error)}") from error

    @asynccontextmanager
    async def frames(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[asyncio.StreamReader]:
        """The raw stream that a POST turns its connection into.

        Raises PodmanError and RuntimeUnavailable.
        """
        try:
            async with self._open("POST", path, body=body) as (reader, _):
                yield reader
        except (OSError, EOFError) as error:
            raise RuntimeUnavailable(f"Podman ended a stream: {reason(error)}") from error

    @asynccontextmanager
    async def hijacked(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection that a POST turns into a raw stream both ways.

        Raises PodmanError and RuntimeUnavailable when it does not become one.
        """
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        opened = self._open(
            "POST", path, params=params, body=body, headers=headers, limit=STREAM_LIMIT_BYTES
        )
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(opened)
            except (OSError, EOFError) as error:
                raise RuntimeUnavailable(f"Podman does not answer: {reason(error)}") from error
            yield connection

    async def upload(self, path: str, pieces: AsyncIterator[bytes], size_bytes: int) -> Any:
        """Send a body in pieces, of so many bytes in all; the decoded answer.

        Raises PodmanError and RuntimeUnavailable, and what the iterator raises.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket_path)
        except OSError as error:
            raise RuntimeUnavailable(f"Podman does not answer: {reason(error)}") from error
        try:
            writer.write(_head("POST", path, {}, {"Content-Type": "application/x-tar"}, size_bytes))
            async for piece in pieces:
                writer.write(piece)
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            content = await reader.read()
        except (OSError, EOFError) as error:
            raise RuntimeUnavailable(f"Podman does not answer: {reason(error)}") from error
        finally:
            writer.close()
        code = int(head.split(b" ", 2)[1])
        if code >= 400:
            raise PodmanError(code, _message(content))
        return _decode(content)

    async def lines(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The decoded lines of an answer as they come, until the service ends it.

        Raises PodmanError and RuntimeUnavailable. Use it within `aclosing`.
        """
        try:
            async with self._open(method, path, params=params, headers=headers) as (reader, _):
                while line := await reader.readline():
                    yield _decode(line)
        except (OSError, EOFError) as error:
            raise RuntimeUnavailable(f"Podman ended a stream: {reason(error)}") from error

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = LINE_LIMIT_BYTES,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Send a request; a reader that stands at the body of the answer, and the writer."""
        reader, writer = await asyncio.open_unix_connection(self._socket_path, limit=limit)
        try:
            writer.write(_request(method, path, params or {}, body, headers or {}))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            code = int(head.split(b" ", 2)[1])
            if code >= 400:
                raise PodmanError(code, _message(await reader.read()))
            yield reader, writer
        finally:
            writer.close()


def _asked_again(ask: Callable[[], Any]) -> Any:
    """What a request answers that may be repeated: once more when its connection has ended.

    Podman closes connections that are idle for ten seconds, which may be just when they are used.
    """
    from requests.exceptions import ConnectionError as Ended
    from requests.exceptions import RequestException, Timeout

    try:
        return ask()
    except RequestException as error:  # podman-py's own, for what requests says
        if isinstance(error.__cause__, Timeout) or not isinstance(error.__cause__, Ended):
            raise
        return ask()


def _request(
    method: str,
    path: str,
    params: Mapping[str, str],
    body: Mapping[str, Any] | None,
    headers: Mapping[str, str],
) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    headers = {"Content-Type": "application/json", **headers}
    return _head(method, path, params, headers, len(content)) + content


def _head(
    method: str,
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    size_bytes: int,
) -> bytes:
    """A request up to its body."""
    target = _PREFIX + quote(path, safe="/:@") + (f"?{urlencode(params)}" if params else "")
    head = [f"{method} {target} HTTP/1.0", "Host: podman", f"Content-Length: {size_bytes}"]
    return "\r\n".join([*head, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()


def _decode(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise RuntimeUnavailable("Podman's answer ended before it was whole") from error


def _message(content: bytes) -> str:
    """What an error's body says: Podman's `message` holds the whole chain of causes."""
    try:
        plain = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return content.decode("utf-8", "replace").strip()
    return str(plain.get("message") or plain.get("cause") or plain)
