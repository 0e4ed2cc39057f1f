"""`wherry logs POD [-f] [-c CONTAINER]`: what a container has written."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from common.cli.connection import add_namespace, client


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("logs", help="print the log of a container")
    parser.add_argument("pod")
    add_namespace(parser)
    parser.add_argument("-c", "--container", default="", help="when the pod has several")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("-p", "--previous", action="store_true", help="the one that ran before")
    parser.add_argument("--tail", type=int, default=None, help="only so many lines from the end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Print the log as it is, byte by byte; raises StatusError."""
    try:
        asyncio.run(_run(arguments))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(0) from None


async def _run(arguments: argparse.Namespace) -> None:
    async with client(arguments) as api:
        async for chunk in api.logs(
            arguments.namespace,
            arguments.pod,
            container=arguments.container,
            follow=arguments.follow,
            previous=arguments.previous,
            tail_lines=arguments.tail,
        ):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
