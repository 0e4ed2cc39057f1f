"""`kubectl logs`: streams a container's log from the node through a session."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.types.core_v1 import Pod
from master.apiserver.registry.registry import Registry
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.logoptions import log_options
from master.apiserver.rest import outflow
from master.nodes.sessions import NodeSessions


class PodLogs:
    """Answers GET of pods/NAME/log."""

    def __init__(self, registry: Registry, sessions: NodeSessions) -> None:
        self._registry = registry
        self._sessions = sessions

    async def answer(
        self, request: web.Request, target: Target, parameters: Mapping[str, str]
    ) -> web.StreamResponse:
        """Stream the log as text; errors before the first byte are Status answers.

        A pod that has no node yet has no log: that is no error, and 204 says it.
        """
        data = await self._registry.get(target)
        pod = codec.decode(data, Pod)
        options = log_options(pod, parameters)
        if not pod.spec.nodeName:
            return web.Response(status=204)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        stream = self._sessions.logs(pod.spec.nodeName, options)
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
