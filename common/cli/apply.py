"""`wherry apply -f FILE [--wait]`: create objects or change them, and see them become ready."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from common.api import errors
from common.api.codec import yaml
from common.api.errors import StatusError
from common.cli.connection import add_namespace, client
from common.cli.credentials.token import duration
from common.client import apply as applying
from common.client.grpc import GrpcClient
from common.runtime.reasons import reason


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "apply", help="create objects, or change them by a merge patch", allow_abbrev=False
    )
    parser.add_argument("-f", "--filename", required=True, help="YAML or JSON; - for stdin")
    add_namespace(parser)
    parser.add_argument("--wait", action="store_true", help="wait until everything is ready")
    parser.add_argument(
        "--timeout", type=duration, default=duration("5m"), help="how long to wait; default: 5m"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Apply every object of the file, in order; raises StatusError."""
    try:
        from_stdin = arguments.filename == "-"
        data = sys.stdin.buffer.read() if from_stdin else Path(arguments.filename).read_bytes()
    except OSError as error:
        raise SystemExit(f"wherry: cannot read {arguments.filename}: {reason(error)}") from error
    objects = [plain for document in yaml.decode_all(data) for plain in manifests(document)]
    if not objects:
        raise SystemExit(f"wherry: no objects in {arguments.filename}")
    asyncio.run(_run(arguments, objects))


def manifests(document: Any) -> Iterator[Any]:
    """The objects of a document: a List has several."""
    if isinstance(document, dict) and document.get("kind") == "List":
        items = document.get("items") or []
        if not isinstance(items, list):
            raise errors.bad_request("items of a List must be an array")
        yield from items
    else:
        yield document


async def _run(arguments: argparse.Namespace, found: list[Any]) -> None:
    for plain in found:
        applying.resource_of(plain)
    async with client(arguments) as api:
        done = []
        for plain in found:
            what, stored = await applying.apply(api, plain, arguments.namespace)
            resource = applying.resource_of(stored)
            group = f".{resource.group}" if resource.group else ""
            print(f"{resource.singular}{group}/{stored['metadata']['name']} {what}", flush=True)
            done.append(stored)
        if arguments.wait:
            await _wait(api, done, arguments.timeout.total_seconds())


async def _wait(api: GrpcClient, applied: list[dict[str, Any]], seconds: float) -> None:
    """Print how far the objects are, one after the other, until all are ready."""
    text = ""
    try:
        async with asyncio.timeout(seconds):
            for plain in applied:
                text = f'{plain["kind"].lower()} "{plain["metadata"]["name"]}" is not ready'
                async with _told(api, plain):
                    async for now in applying.follow(api, plain):
                        text = now.text
                        print(text, flush=True)
                        if now.failed:
                            raise SystemExit(1)
    except TimeoutError as error:
        raise errors.timeout(f"timed out after {seconds:g} s: {text}") from error


@contextlib.asynccontextmanager
async def _told(api: GrpcClient, plain: dict[str, Any]) -> AsyncIterator[None]:
    """Meanwhile, stderr says why pods of the object do not run."""

    async def tell() -> None:
        with contextlib.suppress(StatusError):  # whoever waits for the object meets it, too
            async for text in applying.follow_troubles(api, plain):
                print(text, file=sys.stderr, flush=True)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
