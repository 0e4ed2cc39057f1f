"""`wherry image push` and `list`: images of nodes, without a registry."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from common.api.codec import json as codec
from common.api.types.core_v1 import Node
from common.cli.connection import client
from common.client.grpc import GrpcClient
from common.runtime.offload import Offload

PIECE_BYTES = 64 << 10


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("image", help="images of nodes", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    push = actions.add_parser(
        "push",
        help="give nodes an image: wherry image push NODE... FILE|IMAGE",
        allow_abbrev=False,
    )
    push.add_argument("nodes", nargs="*", metavar="NODE", help="who gets it")
    push.add_argument(
        "source", metavar="FILE|IMAGE", help="an archive (podman save), or an image of this machine"
    )
    push.add_argument("--all", action="store_true", help="every node gets it")
    push.set_defaults(run=run_push)
    listing = actions.add_parser("list", help="the images that nodes report", allow_abbrev=False)
    listing.add_argument("nodes", nargs="*", metavar="NODE", help="default: all")
    listing.set_defaults(run=run_list)


def run_push(arguments: argparse.Namespace, **_: object) -> None:
    """Push to one node after the other; raises StatusError and OSError."""
    if arguments.all == bool(arguments.nodes):
        raise SystemExit("wherry: image push needs either the names of nodes or --all")
    with _archive(arguments.source) as file:
        asyncio.run(_push(arguments, file, file.stat().st_size))


@contextmanager
def _archive(source: str) -> Iterator[Path]:
    """The file that is meant, or one that Podman writes of an image of this machine."""
    if Path(source).exists() or "/" in source[:1]:
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="wherry-image-") as directory:
        file = Path(directory) / "image.tar"
        command = ["podman", "save", "--quiet", "--output", str(file), source]
        try:
            saved = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise SystemExit(f"wherry: there is no file {source}, and no Podman here") from error
        if saved.returncode:
            raise SystemExit(f"wherry: podman save {source}: {saved.stderr.strip()}")
        yield file


async def _push(arguments: argparse.Namespace, file: Path, size: int) -> None:
    async with client(arguments) as api:
        nodes = arguments.nodes or [node.metadata.name for node in await _nodes(api)]
        for node in nodes:
            names = await api.push_image(node, _pieces(file, node, size), size)
            print(f"{node}: {', '.join(names) or 'an image without a name'}")


async def _pieces(file: Path, node: str, size: int) -> AsyncIterator[bytes]:
    """The file, and on a terminal how much of it has gone."""
    sent = 0
    with closing(Offload(threads=1, name="image")) as offload, file.open("rb") as opened:
        while data := await offload(opened.read, PIECE_BYTES):
            yield data
            sent += len(data)
            if sys.stderr.isatty():
                end = "\n" if sent == size else ""
                print(f"\r{node}: {100 * sent // size} %", end=end, file=sys.stderr, flush=True)


async def _nodes(api: GrpcClient) -> list[Node]:
    page = await api.list(api.resource("nodes"))
    return [codec.decode(data, Node) for data in page.items]


def run_list(arguments: argparse.Namespace, **_: object) -> None:
    """A line for each image of each node, as the nodes report them: the 50 largest of each."""
    asyncio.run(_list(arguments))


async def _list(arguments: argparse.Namespace) -> None:
    async with client(arguments) as api:
        nodes = await _nodes(api)
    known = {node.metadata.name for node in nodes}
    if missing := [name for name in arguments.nodes if name not in known]:
        raise SystemExit(f"wherry: there is no node {missing[0]}")
    rows = [("NODE", "SIZE", "IMAGE")]
    for node in nodes:
        if arguments.nodes and node.metadata.name not in arguments.nodes:
            continue
        for image in node.status.images:
            size = f"{image.sizeBytes / (1 << 20):.1f} MiB"
            rows.append((node.metadata.name, size, image.names[0]))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, size, image_name in rows:
        print(f"{name:{widths[0]}}  {size:>{widths[1]}}  {image_name}")
