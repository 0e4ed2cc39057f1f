"""Serves the master's requests for logs: finds the file of an attempt and streams it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from common.api import errors
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from node.kubelet.kubelet import Kubelet
from node.kubelet.streams import logs
from node.kubelet.streams.logs import LogQuery
from node.session.channels import Channels
from protos import node_v1_pb2


class LogServer:
    """Logs of this machine's containers."""

    def __init__(self, kubelet: Kubelet, clock: Clock, offload: Offload) -> None:
        self._kubelet = kubelet
        self._clock = clock
        self._offload = offload

    async def serve(self, request: node_v1_pb2.LogRequest, channels: Channels) -> int:
        """Send a log; raises StatusError when there is no such container or log."""
        async with aclosing(self.logs(request)) as pieces:
            async for piece in pieces:
                await channels.send(piece)
        return 0

    async def logs(self, request: node_v1_pb2.LogRequest) -> AsyncGenerator[bytes, None]:
        """The bytes of a log; raises StatusError when there is no such container or log."""
        status = self._kubelet.log_of(request.uid, request.container, previous=request.previous)
        if status is None:
            kind = "previous terminated container" if request.previous else "container"
            raise errors.bad_request(
                f'{kind} "{request.container}" in pod "{request.name}" not found'
            )
        query = LogQuery(
            follow=request.follow,
            timestamps=request.timestamps,
            tail_lines=request.tail_lines,
            since_ms=request.since_ms,
            limit_bytes=request.limit_bytes,
        )
        attempt = status.id

        def running() -> bool:
            container = self._kubelet.container(request.uid, attempt)
            return container is not None and container.state == "running"

        try:
            stream = logs.stream(
                Path(status.log_path),
                query,
                running=running,
                clock=self._clock,
                offload=self._offload,
            )
            async for piece in stream:
                yield piece
        except FileNotFoundError as error:
            if not status.started_at:  # a program that could not be started has said nothing
                return
            raise errors.StatusError(
                404, "NotFound", f"the log of {request.name}/{request.container} is gone"
            ) from error
        except OSError as error:
            text = f"the log of {request.name}/{request.container} cannot be read: {error.strerror}"
            raise errors.StatusError(500, "InternalError", text) from error
