"""Answers that are streams of text from a subresource, such as `kubectl logs`."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from common.api.errors import StatusError
from master.apiserver.registry.registry import Registry
from master.apiserver.request.target import Target
from master.apiserver.rest import outflow


async def answer(
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
