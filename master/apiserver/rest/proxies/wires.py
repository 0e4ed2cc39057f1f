"""The bytes to and from a program in a pod, with TLS or without."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from common.api import errors
from master.apiserver.registry.duplex import Duplex, Upstream

READ_BYTES = 64 << 10
HANDSHAKE_SECONDS = 10.0


class Wire(Protocol):
    """Bytes in both directions, for one task that reads and one that writes."""

    async def read(self) -> bytes:
        """The next bytes; b"" at the end. Raises StatusError."""

    async def write(self, data: bytes) -> None:
        """Send; returns when the program's end takes more. Raises StatusError."""


@asynccontextmanager
async def connected(upstream: Upstream) -> AsyncIterator[Wire]:
    """A connection to a program, until the block is left; raises StatusError."""
    async with upstream.dial() as duplex:
        plain = _Plain(duplex)
        yield await _Tls(plain).opened() if upstream.is_tls else plain


class _Plain:
    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._ended = False

    async def read(self) -> bytes:
        """See Wire."""
        while not self._ended:
            piece = await self._duplex.receive()
            self._ended = piece is None or piece.closed
            if piece is not None and piece.data:
                return piece.data
        return b""

    async def write(self, data: bytes) -> None:
        """See Wire."""
        await self._duplex.send(data)


class _Tls:
    """TLS without verification, as Kubernetes' proxy has it: pods have no names to be checked."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _context().wrap_bio(self._incoming, self._outgoing)
        self._writing = asyncio.Lock()

    async def opened(self) -> Wire:
        """The same after the handshake."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                while not self._shakes_hands():
                    await self._flush()
                    await self._receive()
                await self._flush()
        except TimeoutError as error:
            raise errors.timeout("the pod did not answer the TLS handshake in time") from error
        return self

    def _shakes_hands(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise _failed(error) from error
        return True

    async def read(self) -> bytes:
        """See Wire."""
        while True:
            try:
                return self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise _failed(error) from error

    async def write(self, data: bytes) -> None:
        """See Wire."""
        for start in range(0, len(data), READ_BYTES):
            try:
                self._tls.write(data[start : start + READ_BYTES])
            except ssl.SSLError as error:
                raise _failed(error) from error
            await self._flush()

    async def _receive(self) -> None:
        data = await self._wire.read()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        """Send what TLS has to say, in its order: both tasks may have some."""
        async with self._writing:
            if data := self._outgoing.read():
                await self._wire.write(data)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _failed(error: ssl.SSLError) -> errors.StatusError:
    why = error.reason or str(error)
    return errors.unavailable(
        f"error trying to reach service: TLS: {why.lower().replace('_', ' ')}"
    )
