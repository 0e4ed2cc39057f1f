"""Answers that are streams: of text, such as `kubectl logs`, or both ways, such as `exec`."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from common.api.errors import StatusError
from master.apiserver.registry.duplex import CommandHandler, PortHandler, ProxyHandler
from master.apiserver.registry.registry import Registry
from master.apiserver.request.target import Target
from master.apiserver.rest import outflow, requestinfo
from master.apiserver.rest.proxies import proxying
from master.apiserver.rest.upgrades import (
    negotiation,
    port_forwards,
    remote_commands,
    websocket_logs,
)


async def answer(
    request: web.Request, target: Target, parameters: Mapping[str, str], registry: Registry
) -> web.StreamResponse:
    """Answer with the stream of a subresource; raises StatusError when it cannot begin."""
    match registry.handler(target):
        case CommandHandler() as handler:
            command = await handler.command(target, _query(request))
            return await remote_commands.answer(request, command)
        case PortHandler() as handler:
            dial = await handler.dial(target)
            return await port_forwards.answer(request, dial, _query(request).get("ports", []))
        case ProxyHandler() as handler:
            return await proxying.answer(request, await handler.upstream(target))
        case _:
            return await _text(request, target, parameters, registry)


def _query(request: web.Request) -> dict[str, list[str]]:
    return requestinfo.all_values(request.raw_path.partition("?")[2])


async def _text(
    request: web.Request, target: Target, parameters: Mapping[str, str], registry: Registry
) -> web.StreamResponse:
    """Send the stream as it comes; errors before the first byte are Status answers.

    Where there is nothing to tell yet, 204 says it: that is no error.
    """
    stream = await registry.connect(target, parameters)
    if stream is None:
        return web.Response(status=204)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    try:
        first = await anext(stream, b"")
        if negotiation.wants_websocket(request.headers):
            return await websocket_logs.answer(request, first, stream)
        if request.method == "HEAD":
            return web.Response(content_type="text/plain")
        await response.prepare(request)
        await response.write(first)
        async for chunk in stream:
            await outflow.write(request, response, chunk, stall_seconds=outflow.PAUSE_SECONDS)
    except StatusError as error:
        if not response.prepared:
            raise
        await response.write(f"\n{error.message}\n".encode())
    except ConnectionResetError:
        return response
    finally:
        await stream.aclose()
    await response.write_eof()
    return response
