"""exec, attach and port-forward on a node: the right container, all bytes, and clear refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from common.api.errors import StatusError
from node.kubelet.sessions.port_forwards import PortForwards
from node.kubelet.sessions.remote_commands import RemoteCommands
from node.session.channels import STDIN, STDOUT
from protos import node_v1_pb2 as pb
from tests.fakes.kubelet import FakeNode, end
from tests.fakes.pods import UID, pod

SECONDS = 10.0
NODE_IP = "127.0.0.2"
ECHO = ("cat",)
Frame = pb.SessionFrame


class MasterChannels:
    """What a master sends, and what it gets. `gone` ends as a session that the master ends."""

    def __init__(self, *frames: Frame) -> None:
        self._frames = iter(frames)
        self.sent: list[tuple[int, bytes]] = []
        self.closed: list[int] = []

    async def receive(self) -> Frame | None:
        """The next frame; after the last one nothing, for ever."""
        await asyncio.sleep(0)
        frame = next(self._frames, None)
        if frame is None:
            await asyncio.Event().wait()
        return frame

    async def send(self, data: bytes, channel: int = 0) -> None:
        self.sent.append((channel, data))

    async def close(self, channel: int = 0) -> None:
        self.closed.append(channel)


def typed(*pieces: bytes, end: bool = True) -> Iterable[Frame]:
    """Input, and its end."""
    yield from (Frame(data=piece, channel=STDIN) for piece in pieces)
    if end:
        yield Frame(channel=STDIN, close=True)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FakeNode]:
    """With a pod that runs."""
    made = FakeNode(tmp_path)
    made.runtime.execs[ECHO] = 3
    await made.start()
    await made.assign(pod(restartPolicy="Never"))
    await made.wait(2.0)
    yield made
    await end(made)


def name(container: str = "app", uid: str = UID) -> pb.ContainerName:
    return pb.ContainerName(namespace="default", pod="web", uid=uid, container=container)


def commands(node: FakeNode) -> RemoteCommands:
    return RemoteCommands(node.kubelet, node.runtime)


def forwards(node: FakeNode) -> PortForwards:
    return PortForwards(node.kubelet, node.sandbox, node_ip=NODE_IP)


async def test_a_command_gets_its_input_and_its_exit_code_is_told(node: FakeNode) -> None:
    channels = MasterChannels(*typed(b"one", b"two"))
    request = pb.ExecRequest(container=name(), command=ECHO, stdio=pb.Stdio(stdin=True))
    async with asyncio.timeout(SECONDS):
        code = await commands(node).exec(request, channels)  # type: ignore[arg-type]
    assert code == 3
    assert channels.sent == [(STDOUT, b"one"), (STDOUT, b"two")]


@pytest.mark.parametrize(
    "wanted", [name("other"), name(uid="6a5e7c1e-0000-4000-8000-00000000dead")]
)
async def test_only_a_container_that_runs_is_entered(
    node: FakeNode, wanted: pb.ContainerName
) -> None:
    for served in (
        commands(node).exec(pb.ExecRequest(container=wanted), MasterChannels()),  # type: ignore[arg-type]
        commands(node).attach(pb.AttachRequest(container=wanted), MasterChannels()),  # type: ignore[arg-type]
    ):
        with pytest.raises(StatusError, match="is not running") as raised:
            await served
        assert raised.value.code == 404


async def test_a_container_that_has_ended_is_not_entered(node: FakeNode) -> None:
    [running] = (await node.containers()).values()
    await node.end(running.id, 1)
    with pytest.raises(StatusError, match="is not running"):
        await commands(node).exec(pb.ExecRequest(container=name()), MasterChannels())  # type: ignore[arg-type]


async def test_a_runtime_that_does_not_answer_is_no_fault_of_the_command(node: FakeNode) -> None:
    node.runtime.stop_service()
    with pytest.raises(StatusError, match="container runtime") as raised:
        await commands(node).exec(
            pb.ExecRequest(container=name(), command=ECHO),
            MasterChannels(),  # type: ignore[arg-type]
        )
    assert raised.value.code == 503


async def test_a_connection_carries_both_ways_and_ends_with_the_pods_side(node: FakeNode) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"you said " + await reader.read())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channels = MasterChannels(*typed(b"hello"))
    request = pb.PortForwardRequest(namespace="default", name="web", uid=UID, port=port)
    async with asyncio.timeout(SECONDS):
        assert await forwards(node).serve(request, channels) == 0  # type: ignore[arg-type]
    assert b"".join(data for _, data in channels.sent) == b"you said hello"
    assert channels.closed == [0]
    server.close()


async def test_a_port_on_which_nothing_listens_is_told(node: FakeNode) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    request = pb.PortForwardRequest(namespace="default", name="web", uid=UID, port=port)
    with pytest.raises(StatusError, match=f"localhost:{port} inside the pod: connection refused"):
        await forwards(node).serve(request, MasterChannels())  # type: ignore[arg-type]


async def test_a_pod_that_is_not_there_has_no_ports(node: FakeNode) -> None:
    request = pb.PortForwardRequest(namespace="n", name="p", uid="nobody", port=80)
    with pytest.raises(StatusError, match='pod "p" in namespace "n" is not running'):
        await forwards(node).serve(request, MasterChannels())  # type: ignore[arg-type]


async def test_a_proxy_connects_to_a_pods_own_address_alone(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that the node has given it; on the machine's own network that is the machine's."""
    sandbox = node.kubelet.ready_sandbox(UID)
    assert sandbox is not None
    assert sandbox.address.startswith("10.42.1.")
    server = await asyncio.start_server(_greet, NODE_IP, 0)
    port = server.sockets[0].getsockname()[1]
    for address, heard in (("", b"hello"), (NODE_IP, b"hello"), ("127.0.0.3", b"")):
        at = replace(sandbox, address=address)
        monkeypatch.setattr(node.kubelet, "ready_sandbox", lambda _, at=at: at)
        request = pb.PortForwardRequest(uid=UID, port=port, own_address=True)
        channels = MasterChannels(*typed())
        try:
            async with asyncio.timeout(SECONDS):
                await forwards(node).serve(request, channels)  # type: ignore[arg-type]
        except StatusError as error:
            assert error.code == 503
            assert error.message == (
                f"error trying to reach service: {address}:{port}: connection refused"
            )
        assert b"".join(data for _, data in channels.sent) == heard
    server.close()


async def _greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()
