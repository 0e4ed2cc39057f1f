"""A process as handlers of exec and attach hand it out: it says what a test lets it say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from common.api.errors import StatusError
from master.apiserver.registry.duplex import (
    STDERR,
    STDIN,
    STDOUT,
    Command,
    CommandOptions,
    Piece,
)

__all__ = ["STDERR", "STDIN", "STDOUT", "FakeProcess"]


class FakeProcess:
    """Implements Duplex. Says what is put into `says`; None ends it, an error breaks it off."""

    def __init__(self, *, terminal: bool = False, stdin: bool = True) -> None:
        self.says: asyncio.Queue[Piece | StatusError | None] = asyncio.Queue()
        self.heard = b""
        self.heard_something = asyncio.Event()
        self.closed = asyncio.Event()
        """Its input."""
        self.sizes: list[tuple[int, int]] = []
        self.sized = asyncio.Event()
        self.exit_code = 0
        self.refusal: StatusError | None = None
        """It cannot even be started."""
        self.left = asyncio.Event()
        """Nobody wants it any more."""
        self.echoes = False
        self.ports: list[int] = []
        """By which it was connected to."""
        self.options = CommandOptions("c", ("x",), stdin, True, not terminal, terminal)

    @property
    def command(self) -> Command:
        """It, as a handler answers it."""
        return Command(self.options, self._run)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[FakeProcess]:
        if self.refusal is not None:
            raise self.refusal
        try:
            yield self
        finally:
            self.left.set()

    def dial(self, port: int) -> AbstractAsyncContextManager[FakeProcess]:
        """It, as a program that is connected to."""
        self.ports.append(port)
        return self._run()

    def ends(self, exit_code: int = 0) -> None:
        """By itself."""
        self.exit_code = exit_code
        self.says.put_nowait(None)

    async def receive(self) -> Piece | None:
        """What it says."""
        said = await self.says.get()
        if isinstance(said, StatusError):
            raise said
        return said

    async def send(self, data: bytes, channel: int = STDIN) -> None:
        """What it hears; an echo says it again."""
        assert channel == STDIN
        self.heard += data
        self.heard_something.set()
        if self.echoes and data:
            self.says.put_nowait(Piece(STDOUT, data))

    def close(self, channel: int = STDIN) -> None:
        """An echo ends with its input."""
        assert channel == STDIN
        self.closed.set()
        if self.echoes:
            self.ends()

    def resize(self, width: int, height: int) -> None:
        """Note it."""
        self.sizes.append((width, height))
        self.sized.set()
