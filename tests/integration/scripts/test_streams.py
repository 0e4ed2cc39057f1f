"""Commands and connections over gRPC, from a script to a node's own sessions and back.

The node speaks the nodes' service with the product's own sessions; what they serve is the test's.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio

from common.api.errors import StatusError
from common.client.conversations import STDERR, STDOUT
from common.client.grpc import GrpcClient, channel
from common.runtime.clock import SystemClock
from node.kubelet.sessions.image_loads import ImageLoads
from node.runtime.fake import FakeRuntime
from node.session.channels import Channels
from node.session.sessions import Sessions
from protos import node_v1_pb2
from protos.node_v1_pb2_grpc import NodeServiceStub
from tests.integration.scripts.test_nodes import running_pod
from tests.servers.master import ROOT, RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
SECONDS = 60.0
PIECE = 64 << 10
STALLED_POLLS = 20
UNREAD_MAX_BYTES = 48 << 20
"""What may lie between a process and a reader who has stopped: in gRPC, in the kernel."""


class Node:
    """A node named n1 whose commands a test chooses by their first word."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left = asyncio.Event()
        """A command or a connection was given up by its user."""
        self.sizes: list[tuple[int, int]] = []
        self.sent = 0
        self.asked: Any = None
        self.runtime = FakeRuntime(SystemClock())
        self._sessions = Sessions(
            {
                "exec": self.execute,
                "attach": self.attach,
                "port_forward": self.connect,
                "load_image": ImageLoads(self.runtime).serve,
            }
        )

    async def execute(self, request: node_v1_pb2.ExecRequest, channels: Channels) -> int:
        """`echo`, `flood BYTES` and `hang`."""
        self.asked = request
        try:
            match request.command[0]:
                case "echo":
                    return await self._echo(channels)
                case "flood":
                    return await self._flood(channels, int(request.command[1]))
                case "tar" | "test":
                    return await self._run(request.command, channels)
                case "refuse":
                    raise StatusError(404, "NotFound", "no such container")
                case _:
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        return 0

    async def _echo(self, channels: Channels) -> int:
        await channels.send(b"ready\n", STDERR)
        while (frame := await channels.receive()) is not None and not frame.close:
            if frame.HasField("size"):
                self.sizes.append((frame.size.width, frame.size.height))
            elif frame.data:
                await channels.send(frame.data, STDOUT)
        return 7

    async def _run(self, command: Sequence[str], channels: Channels) -> int:
        """A command of this machine, in a directory that stands for the container's."""
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self.root, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None

        async def write() -> None:
            assert process.stdin is not None
            while (frame := await channels.receive()) is not None and not frame.close:
                process.stdin.write(frame.data)
                await process.stdin.drain()
            process.stdin.close()

        writing = asyncio.create_task(write())
        while data := await process.stdout.read(PIECE):
            await channels.send(data, STDOUT)
        if errors := await process.stderr.read():
            await channels.send(errors, STDERR)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        return await process.wait()

    async def _flood(self, channels: Channels, size: int) -> int:
        while self.sent < size:
            await channels.send(b"x" * PIECE, STDOUT)
            self.sent += PIECE
        return 0

    async def attach(self, request: node_v1_pb2.AttachRequest, channels: Channels) -> int:
        """Says which streams it was asked for."""
        stdio = request.stdio
        await channels.send(f"{stdio.stdin} {stdio.terminal}\n".encode(), STDOUT)
        return 0

    async def connect(self, request: node_v1_pb2.PortForwardRequest, channels: Channels) -> int:
        """A web server on every port but 9."""
        if request.port == 9:
            raise StatusError(500, "InternalError", "connection refused")
        asked = b""
        while b"\r\n\r\n" not in asked and (frame := await channels.receive()) is not None:
            asked += frame.data
        await channels.send(b"HTTP/1.0 200 OK\r\n\r\nhello from %d" % request.port)
        await channels.close()
        return 0

    async def run(self, opened: grpc.aio.Channel, synced: asyncio.Event) -> None:
        """Hold the control stream."""
        stub = NodeServiceStub(opened)
        node = json.dumps({"metadata": {"name": "n1"}}).encode()
        call = stub.Control()
        hello = node_v1_pb2.Hello(node_name="n1", node=node)
        await call.write(node_v1_pb2.FromNode(hello=hello))
        async for message in call:
            if message.HasField("synced"):
                synced.set()
            if message.HasField("session"):
                self._sessions.open(message.session, using(stub))


@contextmanager
def using(stub: Any) -> Any:
    """A stub whose channel stays open."""
    yield stub


@pytest_asyncio.fixture
async def node(master: RunningMaster, tmp_path: Path) -> AsyncIterator[Node]:
    """A connected node with a pod `web`."""
    wanted = master.with_certificate(master.node_certificate("n1"))
    async with channel(wanted) as opened:
        root = tmp_path / "container"
        root.mkdir()
        made, synced = Node(root), asyncio.Event()
        running = asyncio.create_task(made.run(opened, synced))
        await asyncio.wait_for(synced.wait(), SECONDS)
        await asyncio.to_thread(running_pod, master, "web")
        yield made
        gone = "/api/v1/namespaces/default/pods/web?gracePeriodSeconds=0"
        await asyncio.to_thread(master.admin().json, "DELETE", gone)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_command_is_told_its_input_and_size_and_tells_its_end(
    client: GrpcClient, node: Node
) -> None:
    async with (
        asyncio.timeout(SECONDS),
        client.exec("default", "web", ["echo"], stdin=True, terminal=True) as command,
    ):
        seen = []
        async for stream, data in command:
            seen.append((stream, data))
            if stream == STDERR:
                await command.resize(132, 43)
                await command.write(b"hello")
            elif data == b"hello":
                await command.close_stdin()
    assert seen == [(STDERR, b"ready\n"), (STDOUT, b"hello")]
    assert command.exit_code == 7
    assert node.sizes == [(132, 43)]
    assert (node.asked.container.pod, node.asked.container.container) == ("web", "c")
    assert (node.asked.stdio.stdin, node.asked.stdio.terminal) == (True, True)


async def test_a_command_whose_caller_leaves_is_given_up(client: GrpcClient, node: Node) -> None:
    async with client.exec("default", "web", ["hang"]):
        while node.asked is None:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(SECONDS):
        await node.left.wait()


async def test_input_that_no_process_reads_does_not_hide_that_its_caller_has_left(
    client: GrpcClient, node: Node
) -> None:
    async with client.exec("default", "web", ["hang"], stdin=True) as command:
        writing = asyncio.create_task(command.write(bytes(64 << 20)))
        while node.asked is None:
            await asyncio.sleep(0.01)
        assert not writing.done()
    async with asyncio.timeout(SECONDS):
        await node.left.wait()
    await writing


async def test_a_container_without_input_is_attached_without(
    client: GrpcClient, node: Node
) -> None:
    async with client.attach("default", "web", stdin=True) as command:
        assert [data async for _, data in command] == [b"False False\n"]
    assert command.exit_code == 0


async def test_a_connection_carries_both_ways(client: GrpcClient, node: Node) -> None:
    async with client.connection("default", "web", 8080) as connection:
        await connection.write(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join([data async for data in connection])
    assert answer.endswith(b"hello from 8080")


@pytest.mark.parametrize(
    ("pod", "command", "code", "words"),
    [
        ("nobody", ["echo"], 404, 'pods "nobody" not found'),
        ("web", [], 400, "at least one command"),
        ("web", ["refuse"], 404, "no such container"),
        ("", ["echo"], 400, "names no pod"),
    ],
    ids=str,
)
async def test_what_cannot_be_run_is_told(
    client: GrpcClient, node: Node, pod: str, command: list[str], code: int, words: str
) -> None:
    with pytest.raises(StatusError, match=words) as raised:
        async with client.exec("default", pod, command) as running:
            async for _ in running:
                pass
    assert raised.value.code == code


@pytest.mark.parametrize("port", [9, 0, -1, 70_000])
async def test_a_port_that_cannot_be_reached_is_told(
    client: GrpcClient, node: Node, port: int
) -> None:
    with pytest.raises(StatusError) as raised:
        async with client.connection("default", "web", port) as connection:
            async for _ in connection:
                pass
    assert raised.value.code == (500 if port == 9 else 400)


async def test_who_may_read_pods_may_not_run_commands(master: RunningMaster, node: Node) -> None:
    """Neither over gRPC nor by GET over REST, which is all that a WebSocket has."""
    for kind, name, role in (("ServiceAccount", "reads", ""), ("RoleBinding", "reads", "view")):
        await asyncio.to_thread(_create, master, kind, name, role)
    path = "/api/v1/namespaces/default/serviceaccounts/reads/token"
    asked = await asyncio.to_thread(
        master.admin().json, "POST", path, {"spec": {"expirationSeconds": 600}}
    )
    token = asked["status"]["token"]
    wanted = master.with_token()._replace(token=token)
    async with GrpcClient(channel(wanted)) as reader:
        with pytest.raises(StatusError, match='cannot create resource "pods/exec"') as raised:
            async with reader.exec("default", "web", ["echo"]) as command:
                async for _ in command:
                    pass
    assert raised.value.code == 403
    reading = master.client(bearer=token)
    for method in ("GET", "POST"):
        for below in ("exec?command=x&stdout=true", "attach?stdout=true", "portforward"):
            url = f"/api/v1/namespaces/default/pods/web/{below}"
            status, body = await asyncio.to_thread(reading.request, method, url)
            assert (status, b"cannot create resource" in body) == (403, True), (method, below)


def _create(master: RunningMaster, kind: str, name: str, role: str) -> None:
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    if kind == "ServiceAccount":
        path, more = "/api/v1/namespaces/default/serviceaccounts", {}
    else:
        path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
        more = {"subjects": [subject], "roleRef": reference}
    master.admin().json("POST", path, {"metadata": {"name": name}, **more})


async def stalled(node: Node) -> None:
    """The node cannot send more: nothing has gone out in many looks, one after the other."""
    quiet, last = 0, -1
    while quiet < STALLED_POLLS:
        quiet = quiet + 1 if node.sent == last else 0
        last = node.sent
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("megabytes", [200, pytest.param(1024, marks=pytest.mark.full)])
async def test_a_reader_who_stops_holds_the_command_up_and_nobodys_memory(
    master: RunningMaster, client: GrpcClient, node: Node, megabytes: int
) -> None:
    """Row E8: what is not read stays with the process that writes it."""
    assert master.process is not None
    memory = psutil.Process(master.process.pid).memory_info
    size, seen, before = megabytes << 20, 0, memory().rss
    async with client.exec("default", "web", ["flood", str(size)]) as command:
        async for _, data in command:
            if not seen:
                await stalled(node)
                assert node.sent < UNREAD_MAX_BYTES
                assert memory().rss - before < UNREAD_MAX_BYTES
                async with client.exec("default", "web", ["refuse"]) as other:
                    with pytest.raises(StatusError, match="no such container"):
                        async for _ in other:
                            pass
            seen += len(data)
    assert seen == size
    assert memory().rss - before < UNREAD_MAX_BYTES


def wherry(environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """The command, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", "from common.cli.main import main; main()", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def test_wherry_exec_and_attach(master: RunningMaster, node: Node, tmp_path: Path) -> None:
    environment = master.environment(tmp_path, token=True)
    ran = wherry(environment, "exec", "-i", "pod/web", "--", "echo")
    assert await asyncio.to_thread(ran.communicate, b"typed") == (b"typed", b"ready\n")
    assert ran.returncode == 7
    attached = wherry(environment, "attach", "web")
    assert (await asyncio.to_thread(attached.communicate))[0] == b"False False\n"
    for words, told in (
        (("exec", "nobody", "--", "x"), b'pods "nobody" not found'),
        (("exec", "-t", "web", "--", "x"), b"a terminal (-t) needs one"),
        (("exec", "deploy/web", "--", "x"), b"is not the name of a pod"),
        (("port-forward", "web", "x"), b"is not [LOCAL:]PORT"),
        (("port-forward", "web", "0"), b"is not [LOCAL:]PORT"),
    ):
        refused = wherry(environment, *words)
        _, errors = await asyncio.to_thread(refused.communicate)
        assert told in errors
        assert refused.returncode != 0


async def test_wherry_port_forward(master: RunningMaster, node: Node, tmp_path: Path) -> None:
    environment = {**master.environment(tmp_path, token=False), "PYTHONUNBUFFERED": "1"}
    process = wherry(environment, "port-forward", "web", ":8080", ":9")
    assert process.stdout is not None
    assert process.stderr is not None
    lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(2)]
    served, refused = (line.split()[2].decode() for line in lines)
    assert await asyncio.to_thread(_fetch, served) == b"hello from 8080"
    with pytest.raises((OSError, HTTPException)):
        await asyncio.to_thread(_fetch, refused)
    assert b"port 9: connection refused" in await asyncio.to_thread(process.stderr.readline)
    os.kill(process.pid, signal.SIGINT)
    await asyncio.to_thread(process.communicate)
    assert process.returncode == 130


def _fetch(address: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}/", timeout=SECONDS) as answer:
        data: bytes = answer.read()
        return data


async def copies(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """(exit code, what is said) of `wherry cp`."""
    process = wherry(environment, "cp", *arguments)
    _, errors = await asyncio.to_thread(process.communicate)
    return process.returncode, errors.decode()


async def test_wherry_cp(master: RunningMaster, node: Node, tmp_path: Path) -> None:
    """Files and directories, both ways, under the names that cp would give them."""
    environment = master.environment(tmp_path, token=True)
    mine = tmp_path / "mine"
    (mine / "deep/er").mkdir(parents=True)
    (mine / "deep/er/file").write_bytes(os.urandom(3 << 20))
    (mine / "run").write_text("#!/bin/sh\n")
    (mine / "run").chmod(0o750)
    (node.root / "there").mkdir()
    assert await copies(environment, str(mine), "web:theirs") == (0, "")
    assert await copies(environment, str(mine / "run"), "default/web:there/") == (0, "")
    assert await copies(environment, str(mine / "run"), "web:there") == (0, "")
    content = (mine / "deep/er/file").read_bytes()
    assert (node.root / "theirs/deep/er/file").read_bytes() == content
    assert (node.root / "there/run").stat().st_mode & 0o777 == 0o750
    (node.root / "theirs/link").symlink_to("/etc/passwd")
    code, said = await copies(environment, "web:theirs", str(tmp_path / "back"))
    assert (code, said) == (0, "wherry: left out: theirs/link\n")
    assert (tmp_path / "back/deep/er/file").read_bytes() == content
    assert (tmp_path / "back/run").stat().st_mode & 0o777 == 0o750
    (tmp_path / "here").mkdir()
    assert await copies(environment, "web:theirs/run", f"{tmp_path}/here") == (0, "")
    assert (tmp_path / "here/run").read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("web:nothing", "here"), "nothing"),
        (("/no/such/file", "web:x"), "/no/such/file: no such file or directory"),
        (("a", "b"), "needs one path in a pod"),
        (("web:a", "web:b"), "needs one path in a pod"),
        (("web:", "b"), "is not [NAMESPACE/]POD:PATH"),
        (("nobody:a", "b"), 'pods "nobody" not found'),
    ],
    ids=str,
)
async def test_wherry_cp_says_what_it_cannot_copy(
    master: RunningMaster, node: Node, tmp_path: Path, arguments: tuple[str, str], words: str
) -> None:
    code, said = await copies(master.environment(tmp_path, token=True), *arguments)
    assert code != 0
    assert words in said
    assert "Traceback" not in said
