"""When a stream is refused.

grpc.aio's clients take a refusal that meets a message on its way for an internal error, so that
nobody would learn why: a stream's first message is heard before the caller is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from master.apiserver.rpc.access import Access
from master.apiserver.rpc.gateway import Gateway
from master.apiserver.rpc.nodes import NodeService
from master.apiserver.rpc.tools import REFLECTION, ToolHandlers
from protos import node_v1_pb2
from tests.fakes.chain import chain
from tests.fakes.clock import FakeClock

NOBODY: Any = None
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
Handle = Callable[[AsyncIterator[Any], Any], Any]


class Refused(Exception):
    """The call was ended."""


class Context:
    """A call without credentials; notes when it is refused."""

    def __init__(self) -> None:
        self.happened: list[Any] = []

    def auth_context(self) -> dict[str, list[bytes]]:
        """No certificate."""
        return {}

    def invocation_metadata(self) -> tuple[()]:
        """No token."""
        return ()

    def peer(self) -> str:
        """An address."""
        return "ipv4:10.0.0.1:5000"

    async def abort(self, code: grpc.StatusCode, text: str, metadata: Any = ()) -> None:
        """End the call."""
        self.happened.append(code)
        raise Refused(text)

    async def requests(self, message: Any) -> AsyncIterator[Any]:
        """A client that says one thing."""
        self.happened.append("a message")
        yield message


def node_service() -> NodeService:
    nobody = (NOBODY,) * 6
    return NodeService(*nobody, chain=chain(), clock=FakeClock())


def of_gateway(method: str) -> Handle:
    details: Any = SimpleNamespace(method=f"/etcdserverpb.{method}", invocation_metadata=())
    handle: Handle = (
        Gateway(NOBODY, NOBODY, NOBODY, clock=FakeClock()).service(details).stream_stream
    )
    return handle


def reflection() -> Handle:
    tools = ToolHandlers(Access(chain()), asyncio.Event())
    details = SimpleNamespace(method=f"{REFLECTION}ServerReflectionInfo")
    handle: Handle = tools.service(details).stream_stream
    return handle


STREAMS: dict[str, tuple[Callable[[], Handle], Any]] = {
    "control": (lambda: node_service().Control, node_v1_pb2.FromNode()),
    "session": (lambda: node_service().Session, node_v1_pb2.SessionFrame()),
    "watch": (lambda: of_gateway("Watch/Watch"), NOBODY),
    "a method that is not served": (lambda: of_gateway("KV/Put"), NOBODY),
    "reflection": (reflection, NOBODY),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_a_message_is_heard_before_the_refusal(name: str) -> None:
    make, message = STREAMS[name]
    context = Context()
    answers = make()(context.requests(message), context)
    with pytest.raises(Refused):
        if hasattr(answers, "__anext__"):
            await anext(answers)
        else:
            await answers
    assert context.happened == ["a message", UNAUTHENTICATED]
