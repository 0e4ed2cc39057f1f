"""pods/NAME/log: the log of a container, from its node through a session."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from common.runtime.clock import Clock
from master.apiserver.registry.handler import Handler, Parameters
from master.apiserver.registry.stored import Stored
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.logoptions import LogOptions, log_options
from master.nodes.sessions import NodeSessions
from protos import node_v1_pb2


class PodLogs(Handler):
    """GET of pods/NAME/log."""

    connects = ("get",)

    def __init__(self, stored: Stored, sessions: NodeSessions, clock: Clock) -> None:
        self._stored = stored
        self._sessions = sessions
        self._clock = clock

    async def connect(
        self, target: Target, parameters: Parameters
    ) -> AsyncGenerator[bytes, None] | None:
        """The log; None for a pod that has no node yet. Raises StatusError 400 or 404."""
        pod = codec.decode(await self._stored.get(target), Pod)
        options = log_options(pod, parameters)
        return self._log(pod.spec.nodeName, options) if pod.spec.nodeName else None

    async def _log(self, node: str, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """The bytes of a log; raises StatusError when the node cannot be asked or says no."""
        request = self._request(options)
        async with self._sessions.session(node, endless=options.follow, log=request) as session:
            while (piece := await session.receive()) is not None:
                if piece.data:
                    yield piece.data

    def _request(self, options: LogOptions) -> node_v1_pb2.LogRequest:
        """What the node is asked for; moments are the master's, whose clock the caller trusts."""
        since_ms = options.since_ms
        if options.since_seconds:
            since_ms = int((self._clock.now().timestamp() - options.since_seconds) * 1000)
        return node_v1_pb2.LogRequest(
            namespace=options.namespace,
            name=options.name,
            uid=options.uid,
            container=options.container,
            follow=options.follow,
            previous=options.previous,
            timestamps=options.timestamps,
            tail_lines=options.tail_lines,
            since_ms=since_ms,
            limit_bytes=options.limit_bytes,
        )
