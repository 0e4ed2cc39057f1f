"""`wherry image`: archives go from a script to a node, by way of the master."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.api.errors import StatusError
from common.client.grpc import GrpcClient, channel
from tests.fakes.archives import image_archive, pieces
from tests.integration.scripts.test_streams import Node, node
from tests.servers.master import ROOT, RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
__all__ = ["node"]
NAME = "localhost/app:1"


async def wherry(master: RunningMaster, directory: Path, *arguments: str) -> tuple[int, str]:
    """The command as a user types it: its exit code, and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from common.cli.main import main; main()", *arguments),
        cwd=ROOT,
        env=master.environment(directory, token=False),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_script_gives_a_node_an_image(client: GrpcClient, node: Node) -> None:
    archive = image_archive(NAME, padding=5 << 20)
    assert list(await client.push_image("n1", pieces(archive), len(archive))) == [NAME]
    assert NAME in node.runtime.images


async def test_a_file_is_pushed_to_all_nodes(
    master: RunningMaster, node: Node, tmp_path: Path
) -> None:
    file = tmp_path / "app.tar"
    file.write_bytes(image_archive(NAME))
    said = await wherry(master, tmp_path, "image", "push", "--all", str(file))
    assert said == (0, f"n1: {NAME}\n")
    assert NAME in node.runtime.images
    # The node's own status tells of it next; here it is written for the kubelet.
    status = {"status": {"images": [{"names": [NAME], "sizeBytes": 3 << 20}]}}
    path = "/api/v1/nodes/n1/status"
    await asyncio.to_thread(master.admin().json, "PATCH", path, status)
    code, listed = await wherry(master, tmp_path, "image", "list", "n1")
    assert (code, listed.split()) == (0, ["NODE", "SIZE", "IMAGE", "n1", "3.0", "MiB", NAME])


@pytest.mark.parametrize(
    ("data", "size", "name", "code", "words"),
    [
        (image_archive(NAME), 1000, "n1", 400, "the archive does not have 1000 bytes"),
        (b"x" * 10, 20, "n1", 400, "the archive does not have 20 bytes"),
        (b"no archive", 10, "n1", 400, "no archive of images"),
        (b"x", 1, "nobody", 404, 'nodes "nobody" not found'),
        (b"", 0, "n1", 400, "an archive without a size"),
        (b"x", 1, "", 400, "names no node"),
    ],
    ids=["too long", "too short", "no archive", "no node", "empty", "unnamed"],
)
async def test_what_cannot_be_taken_is_told(
    client: GrpcClient, node: Node, data: bytes, size: int, name: str, code: int, words: str
) -> None:
    with pytest.raises(StatusError, match=words) as raised:
        await client.push_image(name, pieces(data), size)
    assert raised.value.code == code
    assert not node.runtime.images


async def test_an_archive_that_cannot_be_read_ends_the_call(client: GrpcClient, node: Node) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await client.push_image("n1", broken(), 1000)


async def test_a_node_may_not(master: RunningMaster, node: Node) -> None:
    wanted = master.with_certificate(master.node_certificate("n1"))
    async with GrpcClient(channel(wanted)) as stranger:
        with pytest.raises(StatusError) as raised:
            await stranger.push_image("n1", pieces(b"x"), 1)
    assert raised.value.code == 403
    assert 'cannot create resource "nodes/images"' in raised.value.message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("app.tar",), "needs either the names of nodes or --all"),
        (("--all", "n1", "app.tar"), "needs either the names of nodes or --all"),
        (("--all", "/no/such/file"), "no such file"),
    ],
)
async def test_what_a_user_may_get_wrong(
    master: RunningMaster, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, said = await wherry(master, tmp_path, "image", "push", *arguments)
    assert code == 1
    assert words in said
    assert "Traceback" not in said
