"""A bearer token goes with every kind of call, as metadata: never as call credentials of gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from common.client.grpc import Settings, _BearerChannel, channel

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Echo(grpc.GenericRpcHandler):
    """Answers each call with what came with it; its path is the kind of call."""

    def service(self, handler_call_details: Any) -> Any:
        kind = handler_call_details.method.rpartition("/")[2]
        brought = list(handler_call_details.invocation_metadata)
        said = "; ".join(value for key, value in brought if key in ("authorization", "x-trace"))

        async def one(request: Any, context: Any) -> bytes:
            return said.encode()

        async def several(request: Any, context: Any) -> AsyncIterator[bytes]:
            yield said.encode()

        handler = several if kind.endswith("stream") else one
        return getattr(grpc, f"{kind}_rpc_method_handler")(handler)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, b"Bearer t"),
        ((("x-trace", "1"),), b"1; Bearer t"),
        (grpc.aio.Metadata(("x-trace", "1")), b"1; Bearer t"),
        ((("authorization", "Bearer own"),), b"Bearer own"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_call_carries_the_token(
    kind: str, metadata: Any, expected: bytes
) -> None:
    """Beside what the call brings itself, which may be another authorization."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def requests() -> AsyncIterator[bytes]:
        yield b""

    async with _BearerChannel(grpc.aio.insecure_channel(f"127.0.0.1:{port}"), "t") as opened:
        call = getattr(opened, kind)(f"/echo/{kind}")
        request = requests() if kind.startswith("stream") else b""
        answer = call(request, timeout=30, metadata=metadata)
        if kind.endswith("stream"):
            said = [data async for data in answer]
        else:
            said = [await answer]
        assert said == [expected]
        assert opened.get_state() == grpc.ChannelConnectivity.READY
    await server.stop(None)


async def test_a_token_is_no_call_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """They can hang a process that closes its channel: grpc/grpc#42247."""

    def refused(*_: object) -> None:
        raise AssertionError("call credentials")

    for name in ("access_token_call_credentials", "metadata_call_credentials"):
        monkeypatch.setattr(grpc, name, refused)
    monkeypatch.setattr(grpc, "composite_channel_credentials", refused)
    async with channel(Settings("127.0.0.1:1", b"", None, "t")) as opened:
        assert isinstance(opened, _BearerChannel)
    async with channel(Settings("127.0.0.1:1", b"")) as opened:
        assert not isinstance(opened, _BearerChannel)
