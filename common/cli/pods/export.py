"""`wherry export quadlet POD`: the files by which systemd runs a pod without Wherry."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from common.api import quadlet
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.podreferences import CONFIG_MAPS, SECRETS, Reference, references
from common.api.types.core_v1 import Pod
from common.cli.connection import add_namespace, client
from common.client.grpc import GrpcClient
from common.security.files import write_private

PLACE = "/etc/containers/systemd"


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "export", help="write what runs a pod without Wherry", allow_abbrev=False
    )
    parser.add_argument("form", choices=["quadlet"], help="Podman's units for systemd")
    parser.add_argument("pod", help="NAME or pod/NAME")
    add_namespace(parser)
    parser.add_argument(
        "-d", "--directory", type=Path, default=Path(), help="where the files go; default: here"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Write the files, which only their owner may read: they may hold Secrets."""
    made = asyncio.run(_export(arguments, arguments.pod.removeprefix("pod/")))
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for name, data in made.files.items():
        write_private(arguments.directory / name, data)
        print(arguments.directory / name)
    for path in made.left_out:
        print(f"left out, as Podman cannot carry it out: {path}", file=sys.stderr)
    print(
        f"In {PLACE} of a machine with Podman 4.4 or later, after `systemctl daemon-reload`,\n"
        f"`systemctl start {made.unit}` runs it.",
        file=sys.stderr,
    )


async def _export(arguments: argparse.Namespace, name: str) -> quadlet.Exported:
    async with client(arguments) as api:
        data = await api.get(api.resource("pods"), arguments.namespace, name)
        objects = {}
        for reference in sorted(references(codec.decode(data, Pod))):
            found = await _find(api, reference)
            if found is not None:
                objects[reference] = found
        return quadlet.export(codec.decode_plain(data), objects)


async def _find(api: GrpcClient, reference: Reference) -> dict[str, Any] | None:
    """A ConfigMap or Secret; None for one that is not there, which may be optional."""
    if reference.resource not in (CONFIG_MAPS, SECRETS):
        return None
    try:
        data = await api.get(api.resource(reference.resource), reference.namespace, reference.name)
    except StatusError as error:
        if error.code != 404:
            raise
        return None
    found: dict[str, Any] = codec.decode_plain(data)
    return found
