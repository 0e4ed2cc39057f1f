"""What calls of gRPC may take: before they are read, while they are answered, and unread.

gRPC reads the message of a call before it asks the method, and keeps an answer until it is read.
Here every method is a stream to gRPC, which changes nothing for callers: its request is read when
it is its turn, and its caller is known by then. Bounds: docs/decisions/0012-bounds.md.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, NamedTuple

import grpc
import grpc.aio

from master.apiserver.rpc.requests import Requests, refuse_broken, tolerant

READING_MAX = 32
"""Requests that are being read at once: so many of those who are known, and so many of others."""
READING_OF_A_CALLER_MAX = 4
READ_SECONDS = 10.0
"""How long a request may take to come once it is its turn."""
CALLS_OF_A_CALLER_MAX = 128
"""Calls at once of one caller who is no administrator; a node has 110 at most."""
UNREAD_OF_A_CALLER_MAX_BYTES = 64 << 20
"""With more answers unread, further calls of that caller are refused."""
SMALL_BYTES = 2 << 20
"""Smaller answers are never thrown away: they may tell of a write, and lists are larger."""

Code = grpc.StatusCode


class Account(NamedTuple):
    """Who calls: a user, or the address of somebody who has not said who they are."""

    name: str
    known: bool
    unbounded: bool
    """Administrators may fill the machine."""


class _InUse:
    """What one caller has in use."""

    def __init__(self) -> None:
        self.calls = 0
        self.unread_bytes = 0
        self.reading = asyncio.Semaphore(READING_OF_A_CALLER_MAX)


class CallLimiter(grpc.aio.ServerInterceptor):
    """Lets calls in; one for all listeners of a process."""

    def __init__(self, who: Callable[[Any], Account]) -> None:
        """`who` takes the context of a call."""
        self._who = who
        self._accounts: dict[Account, _InUse] = {}
        self._reading = {known: asyncio.Semaphore(READING_MAX) for known in (True, False)}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The handler of a method, within the limits; None for a method that nobody has."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        coders = tolerant(handler.request_deserializer), handler.response_serializer
        if handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(self._unary(handler.unary_unary), *coders)
        if handler.unary_stream:
            behavior = self._stream(handler.unary_stream, lambda requests, first: first)
        else:
            behavior = self._stream(handler.stream_stream, Requests.beginning_with)
        return grpc.stream_stream_rpc_method_handler(behavior, *coders)

    def _unary(self, method: Any) -> Any:
        async def answer(requests: AsyncIterator[Any], context: Any) -> Any:
            caller = self._who(context)
            with self._call(caller) as account:
                await self._refuse_greed(caller, account, context)
                request = await self._first_request(caller, account, Requests(requests), context)
                reply = await method(request, context)
                await self._count_unread(caller, account, reply.ByteSize(), context)
                return reply

        return answer

    def _stream(self, method: Any, asked: Callable[[Requests, Any], Any]) -> Any:
        """A method that yields its answers, or one that writes them to its context.

        `asked` makes what it takes of its requests and the first of them, which has been read.
        """

        async def ask(stack: AsyncExitStack, requests: Requests, context: Any) -> Any:
            caller = self._who(context)
            account = stack.enter_context(self._call(caller))
            await self._refuse_greed(caller, account, context)
            first = await self._first_request(caller, account, requests, context)
            return method(asked(requests, first), context)

        async def yielding(coming: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            requests = Requests(coming)
            async with AsyncExitStack() as stack:
                async for answer in await ask(stack, requests, context):
                    yield answer
            if requests.broken:
                await refuse_broken(context)

        async def writing(coming: AsyncIterator[Any], context: Any) -> None:
            requests = Requests(coming)
            async with AsyncExitStack() as stack:
                await (await ask(stack, requests, context))
            if requests.broken:
                await refuse_broken(context)

        return yielding if inspect.isasyncgenfunction(method) else writing

    @contextmanager
    def _call(self, caller: Account) -> Iterator[_InUse]:
        """The account of a caller, with one call more until the end of the block."""
        account = self._accounts.setdefault(caller, _InUse())
        account.calls += 1
        try:
            yield account
        finally:
            account.calls -= 1
            self._close(caller, account)

    def _close(self, caller: Account, account: _InUse) -> None:
        if not account.calls and not account.unread_bytes:
            self._accounts.pop(caller, None)

    async def _refuse_greed(self, caller: Account, account: _InUse, context: Any) -> None:
        """Abort the call of a caller who takes too much already."""
        if caller.unbounded:
            return
        if account.calls > CALLS_OF_A_CALLER_MAX:
            await context.abort(Code.RESOURCE_EXHAUSTED, "too many calls at once")
        if account.unread_bytes > UNREAD_OF_A_CALLER_MAX_BYTES:
            await context.abort(Code.RESOURCE_EXHAUSTED, "too many answers are unread")

    async def _first_request(
        self, caller: Account, account: _InUse, requests: Requests, context: Any
    ) -> Any:
        """The first request of a call, when it is its turn; aborts one that sends none in time."""
        async with account.reading, self._reading[caller.known]:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    return await anext(requests)
            except StopAsyncIteration:
                if requests.broken:
                    await refuse_broken(context)
                await context.abort(Code.INVALID_ARGUMENT, "the call has no request")
            except TimeoutError:
                await context.abort(Code.DEADLINE_EXCEEDED, "the request did not come in time")

    async def _count_unread(
        self, caller: Account, account: _InUse, size_bytes: int, context: Any
    ) -> None:
        """Count an answer until its caller has read it; abort if that is too much."""
        too_much = account.unread_bytes + size_bytes > UNREAD_OF_A_CALLER_MAX_BYTES
        if too_much and size_bytes > SMALL_BYTES and not caller.unbounded:
            await context.abort(Code.RESOURCE_EXHAUSTED, "too many answers are unread")

        def read(_: Any) -> None:
            account.unread_bytes -= size_bytes
            self._close(caller, account)

        account.unread_bytes += size_bytes
        context.add_done_callback(read)
