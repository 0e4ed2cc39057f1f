"""pods/NAME/log: the log of a container, from its node through a session."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from master.apiserver.registry.handler import Handler, Parameters
from master.apiserver.registry.stored import Stored
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.logoptions import log_options
from master.nodes.sessions import NodeSessions


class PodLogs(Handler):
    """GET of pods/NAME/log."""

    connects = ("get",)

    def __init__(self, stored: Stored, sessions: NodeSessions) -> None:
        self._stored = stored
        self._sessions = sessions

    async def connect(
        self, target: Target, parameters: Parameters
    ) -> AsyncGenerator[bytes, None] | None:
        """The log; None for a pod that has no node yet. Raises StatusError 400 or 404."""
        pod = codec.decode(await self._stored.get(target), Pod)
        options = log_options(pod, parameters)
        return self._sessions.logs(pod.spec.nodeName, options) if pod.spec.nodeName else None
