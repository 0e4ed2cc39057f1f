"""Serves port-forward and proxy: one connection to a port of a pod, as from inside of it.

Source: https://kubernetes.io/docs/tasks/access-application-cluster/port-forward-access-application-cluster/
"""

from __future__ import annotations

import asyncio
import os
import socket

from common.api import errors
from node.kubelet.kubelet import Kubelet
from node.runtime.base import Sandbox, SandboxFailed, SandboxStatus
from node.session.channels import Channels
from protos import node_v1_pb2

LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 10.0
READ_BYTES = 64 << 10


class PortForwards:
    """Connections to the pods of this machine."""

    def __init__(self, kubelet: Kubelet, sandbox: Sandbox, *, node_ip: str) -> None:
        self._kubelet = kubelet
        self._sandbox = sandbox
        self._node_ip = node_ip
        """The address of pods on the machine's own network."""

    async def serve(self, request: node_v1_pb2.PortForwardRequest, channels: Channels) -> int:
        """Connect, and pass everything on until both sides have ended. Raises StatusError."""
        reader, writer = await self._connect(request)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_from_pod(reader, channels))
                group.create_task(_to_pod(writer, channels))
        except* OSError:
            pass  # a program that breaks its connection off does so to the user's, too
        finally:
            writer.close()
        return 0

    async def _connect(
        self, request: node_v1_pb2.PortForwardRequest
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sandbox = self._kubelet.ready_sandbox(request.uid)
        if sandbox is None:
            text = f'pod "{request.name}" in namespace "{request.namespace}" is not running'
            raise errors.StatusError(404, "NotFound", text)
        host = self._own_address(sandbox) if request.own_address else LOOPBACK
        try:
            made = await self._sandbox.socket(sandbox.netns_path)
            return await _opened(made, host, request.port)
        except (SandboxFailed, OSError) as error:
            raise _unreachable(request, host, _why(error)) from error

    def _own_address(self, sandbox: SandboxStatus) -> str:
        return sandbox.address or self._node_ip


async def _opened(
    made: socket.socket, host: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect a socket; it is closed when that fails."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(made, (host, port))
        return await asyncio.open_connection(sock=made, limit=READ_BYTES)
    except BaseException:
        made.close()
        raise


def _unreachable(
    request: node_v1_pb2.PortForwardRequest, host: str, why: str
) -> errors.StatusError:
    """As Kubernetes says it of a proxy, and of port-forward."""
    if request.own_address:
        return errors.unavailable(f"error trying to reach service: {host}:{request.port}: {why}")
    return errors.internal(f"failed to connect to localhost:{request.port} inside the pod: {why}")


def _why(error: Exception) -> str:
    """asyncio's own text of a refusal is about sockets."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or "no answer"


async def _from_pod(reader: asyncio.StreamReader, channels: Channels) -> None:
    while data := await reader.read(READ_BYTES):
        await channels.send(data)
    await channels.close()


async def _to_pod(writer: asyncio.StreamWriter, channels: Channels) -> None:
    while (frame := await channels.receive()) is not None:
        if frame.data:
            writer.write(frame.data)
            await writer.drain()
        if frame.close:
            writer.write_eof()
            return
