"""`wherry logs POD [-f] [-c CONTAINER]`: what containers have written."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Any

from common.api.codec import json as codec
from common.cli.connection import add_namespace, client
from common.client.grpc import GrpcClient

FOLLOWED_MAX = 20
"""How many pods are followed at once: each takes a stream of its node."""
TAIL_OF_SEVERAL = 10


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("logs", help="print logs of containers", allow_abbrev=False)
    parser.add_argument("pod", nargs="?", default="", help="NAME or pod/NAME")
    add_namespace(parser)
    parser.add_argument(
        "-l", "--selector", default="", help="logs of all pods with these labels, such as app=web"
    )
    parser.add_argument(
        "-c", "--container", default="", help="which container, if a pod has several"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="keep following the log")
    parser.add_argument(
        "-p", "--previous", action="store_true", help="the log of the container's previous run"
    )
    parser.add_argument(
        "--tail",
        type=count,
        default=None,
        help=f"only the last N lines; default: all, or {TAIL_OF_SEVERAL} with a selector",
    )
    parser.set_defaults(run=run)


def count(text: str) -> int:
    """Zero or more; raises ArgumentTypeError for anything else."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Print the log as it is, byte by byte; raises StatusError."""
    kind, slash, name = arguments.pod.rpartition("/")
    if slash and kind not in ("pod", "pods", "po"):
        raise SystemExit(f"wherry: logs are of pods, not of {kind!r}")
    if bool(name) == bool(arguments.selector):
        raise SystemExit("wherry: logs needs either the name of a pod or a selector (-l)")
    asyncio.run(_run(arguments, name))


async def _run(arguments: argparse.Namespace, name: str) -> None:
    async with client(arguments) as api:
        if name:
            await _print(api, arguments, name, _write)
            return
        pods = api.resource("pods")
        selector = arguments.selector
        page = await api.list(pods, arguments.namespace, label_selector=selector)
        names = [codec.decode_plain(data)["metadata"]["name"] for data in page.items]
        if not names:
            print(f"No pods found in {arguments.namespace} namespace.", file=sys.stderr)
        if arguments.follow:
            await _follow(api, arguments, names)
            return
        for one in names:
            await _print(api, arguments, one, _write)


async def _follow(api: GrpcClient, arguments: argparse.Namespace, names: list[str]) -> None:
    """All of them at once, line by line."""
    if len(names) > FOLLOWED_MAX:
        text = f"{len(names)} pods match, and at most {FOLLOWED_MAX} can be followed"
        raise SystemExit(f"wherry: {text}")
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(_print(api, arguments, name, Lines(_write).add))


async def _print(
    api: GrpcClient, arguments: argparse.Namespace, name: str, write: Callable[[bytes], None]
) -> None:
    tail = arguments.tail
    if tail is None and arguments.selector:
        tail = TAIL_OF_SEVERAL
    async for chunk in api.logs(
        arguments.namespace,
        name,
        container=arguments.container,
        follow=arguments.follow,
        previous=arguments.previous,
        tail_lines=tail,
    ):
        write(chunk)


class Lines:
    """Passes on whole lines, so that those of several pods do not mix."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        """Take a piece of a log; a line of which no end is known waits."""
        whole, newline, self._rest = (self._rest + chunk).rpartition(b"\n")
        if newline:
            self._write(whole + newline)


def _write(chunk: bytes) -> None:
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
