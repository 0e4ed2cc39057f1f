"""Serves exec and attach: the streams of a process in a container, to and from the master.

Source: https://kubernetes.io/docs/tasks/debug/debug-application/get-shell-running-container/
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from common.api import errors
from node.kubelet.kubelet import Kubelet
from node.runtime.base import (
    AttachFailed,
    ContainerStatus,
    ExecFailed,
    Runtime,
    RuntimeUnavailable,
    Stdio,
    Streams,
)
from node.session.channels import STDIN, Channels
from protos import node_v1_pb2

TERMINAL_SIZE_MAX = 0xFFFF


class RemoteCommands:
    """Commands in this machine's containers."""

    def __init__(self, kubelet: Kubelet, runtime: Runtime) -> None:
        self._kubelet = kubelet
        self._runtime = runtime

    async def exec(self, request: node_v1_pb2.ExecRequest, channels: Channels) -> int:
        """Run a command to its end; its exit code. Raises StatusError when it cannot be run."""
        container = self._container(request.container)
        stdio = _stdio(request.stdio)
        return await _connect(
            self._runtime.exec(container.id, list(request.command), stdio), stdio, channels
        )

    async def attach(self, request: node_v1_pb2.AttachRequest, channels: Channels) -> int:
        """Show a container's output from now on. Raises StatusError."""
        container = self._container(request.container)
        stdio = _stdio(request.stdio)
        return await _connect(self._runtime.attach(container.id, stdio), stdio, channels)

    def _container(self, name: node_v1_pb2.ContainerName) -> ContainerStatus:
        """The container that is meant; it must run."""
        container = self._kubelet.running_container(name.uid, name.container)
        if container is None:
            text = f'container "{name.container}" in pod "{name.pod}" is not running'
            raise errors.StatusError(404, "NotFound", text)
        return container


def _stdio(wanted: node_v1_pb2.Stdio) -> Stdio:
    return Stdio(wanted.stdin, wanted.stdout, wanted.stderr, wanted.terminal)


async def _connect(
    process: AbstractAsyncContextManager[Streams], stdio: Stdio, channels: Channels
) -> int:
    """Pass everything on, both ways, until nothing more comes of the process; its exit code."""
    try:
        async with process as streams:
            entering = asyncio.create_task(_input(streams, channels))
            try:
                await _output(streams, channels)
                return await streams.exit_code()
            finally:
                entering.cancel()
                await asyncio.gather(entering, return_exceptions=True)
    except (ExecFailed, AttachFailed) as error:
        raise errors.internal(str(error)) from error
    except RuntimeUnavailable as error:
        raise errors.unavailable(f"the container runtime: {error}") from error


async def _output(streams: Streams, channels: Channels) -> None:
    while True:
        channel, data = await streams.read()
        if not data:
            return
        await channels.send(data, channel)


async def _input(streams: Streams, channels: Channels) -> None:
    while (frame := await channels.receive()) is not None:
        if frame.data:
            await streams.write(frame.data)
        if frame.close and frame.channel == STDIN:
            await streams.close_stdin()
        if frame.HasField("size"):
            width, height = frame.size.width, frame.size.height
            if 0 < width <= TERMINAL_SIZE_MAX and 0 < height <= TERMINAL_SIZE_MAX:
                await streams.resize(width, height)
