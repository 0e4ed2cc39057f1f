"""Requests that are no messages: they are their sender's mistake, and nobody else hears of them.

grpc.aio would answer UNKNOWN to bytes that cannot be read, and log a traceback for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

BROKEN = object()
"""In place of a request that is no message of the method's type."""


def tolerant(read: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A deserializer that gives BROKEN for what it cannot read; methods of bytes have none."""
    if read is None:
        return None

    def message(data: bytes) -> Any:
        try:
            return read(data)
        except Exception:  # noqa: BLE001 - protobuf's error belongs to its implementation
            return BROKEN

    return message


class Requests:
    """The requests of a stream, which end before one that is no message."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = aiter(requests)
        self._read: list[Any] = []
        self.broken = False
        """Whether there was one."""

    def __aiter__(self) -> Requests:
        """Itself."""
        return self

    def beginning_with(self, first: Any) -> Requests:
        """The same requests, with one in front that has been read."""
        self._read.append(first)
        return self

    async def __anext__(self) -> Any:
        """The next one."""
        if self._read:
            return self._read.pop()
        message = await anext(self._requests)
        if message is BROKEN:
            self.broken = True
            raise StopAsyncIteration
        return message


async def refuse_broken(context: Any) -> None:
    """Abort a call."""
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be read")
