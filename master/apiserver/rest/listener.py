"""Listens for TLS, and begins only so many handshakes in one turn of the event loop.

A server of uvloop's takes all who wait in one turn, and in the next one does the key exchanges of
all whose first bytes have come: of hundreds at once, and nobody else has a turn meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)
HANDSHAKE_SECONDS = 10.0
BEGUN_A_TURN = 8
ACCEPTED_A_TURN = 64
PAUSE_SECONDS = 0.5
"""After a connection could not be accepted, for want of a descriptor say."""


class Listener:
    """Makes a protocol of each client whose handshake is done in time."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        """It closes the socket."""
        listening.setblocking(False)
        self._listening = listening
        self._context = context
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._ready: deque[asyncio.Future[None]] = deque()
        """Whose first bytes are here."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._run(self._accept())

    def close(self) -> None:
        """Take nobody any more, also of those whose handshake is not done."""
        for task in tuple(self._tasks):
            task.cancel()
        self._listening.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        count = 0
        while True:
            try:
                client, _ = await self._loop.sock_accept(self._listening)
            except OSError as error:
                log.warning("a connection was not accepted", extra={"error": str(error)})
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._run(self._serve(client))
            count += 1
            if count % ACCEPTED_A_TURN == 0:
                await asyncio.sleep(0)

    async def _serve(self, client: socket.socket) -> None:
        """Return when a client is connected, or when it has not got so far."""
        try:
            await self._connect(client, self._loop.time() + HANDSHAKE_SECONDS)
        except OSError:  # its doing, and nobody else's loss
            client.close()
        except asyncio.CancelledError:
            client.close()
            raise

    async def _connect(self, client: socket.socket, deadline: float) -> None:
        async with asyncio.timeout_at(deadline):
            await self._spoken(client)
            await self._turn()
        await self._loop.connect_accepted_socket(
            self._protocol,
            client,
            ssl=self._context,
            ssl_handshake_timeout=max(0.001, deadline - self._loop.time()),
        )

    async def _spoken(self, client: socket.socket) -> None:
        """Return when a client's first bytes are here, or its end."""
        heard = self._loop.create_future()
        self._loop.add_reader(client, _set, heard)
        try:
            await heard
        finally:
            self._loop.remove_reader(client)

    async def _turn(self) -> None:
        """Return in a turn in which not so many have returned before."""
        turn = self._loop.create_future()
        self._ready.append(turn)
        if len(self._ready) == 1:
            self._loop.call_soon(self._next)
        await turn

    def _next(self) -> None:
        for _ in range(min(BEGUN_A_TURN, len(self._ready))):
            _set(self._ready.popleft())
        if self._ready:
            self._loop.call_soon(self._next)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
