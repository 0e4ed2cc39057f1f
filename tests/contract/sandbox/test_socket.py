"""Sockets in the networks of pods: what listens on a pod's loopback is reached there alone."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from node.network.sandbox import NamespaceSandbox
from node.runtime.base import Sandbox, SandboxFailed
from tests.contract.sandbox.conftest import a_spec

LOOPBACK = "127.0.0.1"


async def listening(sandbox: Sandbox, netns_path: str) -> socket.socket:
    """A program of the pod that listens."""
    made = await sandbox.socket(netns_path)
    made.bind((LOOPBACK, 0))
    made.listen()
    return made


async def test_a_pods_loopback_is_reached(sandbox: Sandbox) -> None:
    status = await sandbox.create(a_spec())
    loop = asyncio.get_running_loop()
    with (
        await listening(sandbox, status.netns_path) as server,
        await sandbox.socket(status.netns_path) as client,
    ):
        await loop.sock_connect(client, server.getsockname())
        accepted, _ = await loop.sock_accept(server)
        with accepted:
            await loop.sock_sendall(client, b"hello")
            assert await loop.sock_recv(accepted, 10) == b"hello"
    await sandbox.remove(status.pod_uid)


@pytest.mark.netns
async def test_it_is_no_other_pods_and_not_the_machines(real: NamespaceSandbox) -> None:
    one, other = await real.create(a_spec(2)), await real.create(a_spec(3))
    loop = asyncio.get_running_loop()
    with await listening(real, one.netns_path) as server:
        for path in (other.netns_path, ""):
            with await real.socket(path) as client, pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, server.getsockname())
    for status in (one, other):
        await real.remove(status.pod_uid)


@pytest.mark.netns
async def test_a_pod_without_a_network_is_told(real: NamespaceSandbox, tmp_path: Path) -> None:
    with pytest.raises(SandboxFailed, match="cannot be used"):
        await real.socket(str(tmp_path / "gone"))
    (tmp_path / "file").touch()
    with pytest.raises(SandboxFailed, match="cannot be used"):
        await real.socket(str(tmp_path / "file"))
