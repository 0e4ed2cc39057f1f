"""`wherry delete KIND NAME`: delete an object, such as the Node of a machine that is gone."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from common.cli.connection import add_namespace, client


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("delete", help="delete an object", allow_abbrev=False)
    parser.add_argument("kind", help="its kind, such as node or pods")
    parser.add_argument("name", help="its name")
    add_namespace(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Ask for it, and do not wait until it is gone; raises StatusError."""
    asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> None:
    async with client(arguments) as api:
        resource = api.resource(arguments.kind)
        space = arguments.namespace if resource.namespaced else ""
        await api.delete(resource, space, arguments.name)
        group = f".{resource.group}" if resource.group else ""
        print(f"{resource.singular}{group}/{arguments.name} deleted")
