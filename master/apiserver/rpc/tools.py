"""What gRPC tools expect beside a service: its health, and a description of itself.

Both are loaded when somebody calls them for the first time: most masters never need them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from master.apiserver.rpc.access import Access
from master.apiserver.rpc.status import answering

HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/"
CLUSTER = "wherry.v1.Cluster"
DESCRIPTION = "/openapi/v3"
"""Who may read the description of the API there may read that of its services here."""
HEALTH_WATCHERS_MAX = 100
"""They are strangers: nobody asks who wants to know."""


class ToolHandlers(grpc.GenericRpcHandler):
    """grpc.health.v1 for anybody, as /readyz is; server reflection as the OpenAPI documents."""

    def __init__(self, access: Access, stopping: asyncio.Event) -> None:
        """`stopping` is set once the master is on its way out."""
        self._access = access
        self._stopping = stopping
        self._handlers: dict[str, grpc.GenericRpcHandler] = {}

    def service(self, details: Any) -> Any:
        """The handler of a method, or None for methods of others."""
        for prefix, make in ((HEALTH, self._health), (REFLECTION, self._reflection)):
            if details.method.startswith(prefix):
                if prefix not in self._handlers:
                    self._handlers[prefix] = make()
                return self._handlers[prefix].service(details)
        return None

    def _health(self) -> grpc.GenericRpcHandler:
        return _health(self._stopping)

    def _reflection(self) -> grpc.GenericRpcHandler:
        from grpc_health.v1 import health  # what is not imported, reflection cannot describe
        from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

        services = [CLUSTER, health.SERVICE_NAME, reflection.SERVICE_NAME]
        access, servicer = self._access, reflection.aio.ReflectionServicer(services)

        class Checked:
            """Knows the caller before it answers, and hears a request before it refuses."""

            async def ServerReflectionInfo(
                self, requests: AsyncIterator[Any], context: Any
            ) -> AsyncIterator[Any]:
                async with answering(context, "ServerReflectionInfo"):
                    first = await anext(requests, None)
                    async with access.call_path(access.caller(context), "get", DESCRIPTION):
                        every = _again(first, requests)
                        async for answer in servicer.ServerReflectionInfo(every, context):
                            yield answer

        collector = _Collector()
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(Checked(), collector)
        return collector.handler


async def _again(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The requests of which one has been read."""
    yield first
    async for request in rest:
        yield request


def _health(stopping: asyncio.Event) -> grpc.GenericRpcHandler:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    def now() -> Any:
        """A master listens only once it is ready, and ends when a part of it fails."""
        answer = health_pb2.HealthCheckResponse
        return answer(status=answer.NOT_SERVING if stopping.is_set() else answer.SERVING)

    class Health:
        """Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""

        async def Check(self, request: Any, context: Any) -> Any:
            if request.service not in ("", CLUSTER):
                await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
            return now()

        async def List(self, request: Any, context: Any) -> Any:
            statuses = {"": now(), CLUSTER: now()}
            return health_pb2.HealthListResponse(statuses=statuses)

        watchers = 0

        async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
            answer = await self.Check(request, context)
            if self.watchers >= HEALTH_WATCHERS_MAX:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch already")
            self.watchers += 1
            try:
                yield answer
                await stopping.wait()
                yield now()
            finally:
                self.watchers -= 1

    collector = _Collector()
    health_pb2_grpc.add_HealthServicer_to_server(Health(), collector)
    return collector.handler


class _Collector:
    """Stands in for a server and keeps the handler that is added to it."""

    handler: grpc.GenericRpcHandler

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self.handler = handlers[0]

    def add_registered_method_handlers(self, name: str, handlers: Any) -> None:
        """Nothing: the generic handler has the same methods."""
