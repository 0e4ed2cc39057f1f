"""`wherry get KIND [NAME]`: objects as a table, JSON, YAML or names."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from common.api.codec import json as codec
from common.api.codec import yaml
from common.api.resource import Resource
from common.cli.connection import add_namespace, client
from common.client.grpc import GrpcClient

GAP = 3
_GREEN, _YELLOW, _RED, _PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[0m"
_GOOD = frozenset(
    {"Running", "Completed", "Ready", "Active", "Bound", "Complete", "Approved,Issued"}
)
_COMING = frozenset(
    {
        "Pending",
        "ContainerCreating",
        "PodInitializing",
        "Terminating",
        "SchedulingGated",
        "Ready,SchedulingDisabled",
    }
)
_INITIALISING = re.compile(r"Init:\d+/\d+")


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("get", help="show objects", allow_abbrev=False)
    parser.add_argument(
        "kind", help="a kind (pods, po), several (svc,pods), or an object (pod/NAME)"
    )
    parser.add_argument("name", nargs="?", default="", help="only this object")
    add_namespace(parser)
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="objects of every namespace"
    )
    parser.add_argument(
        "-l", "--selector", default="", help="only objects with these labels, such as app=web"
    )
    parser.add_argument("-o", "--output", default="", choices=("json", "yaml", "name", "wide"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Print what is asked for; raises StatusError."""
    kinds = arguments.kind.split(",")
    if "/" in arguments.kind:
        kind, _, name = arguments.kind.partition("/")
        if arguments.name or "," in arguments.kind or not name:
            raise SystemExit("wherry: KIND/NAME stands for one object and takes no further name")
        kinds, arguments.name = [kind], name
    if arguments.name and len(kinds) > 1:
        raise SystemExit("wherry: a name needs one kind, not several")
    if arguments.name and arguments.selector:
        raise SystemExit("wherry: a name and a selector exclude each other")
    asyncio.run(_run(arguments, kinds))


async def _run(arguments: argparse.Namespace, kinds: Sequence[str]) -> None:
    async with client(arguments) as api:
        resources = [api.resource(kind) for kind in kinds]
        if arguments.output in ("", "wide"):
            await _tables(api, resources, arguments)
            return
        rows: list[tuple[Resource, dict[str, Any]]] = []
        for resource in resources:
            space = _namespace(resource, arguments)
            rows += [(resource, one) for one in await _objects(api, resource, space, arguments)]
        if rows or arguments.output != "name":
            print(rendered(rows, arguments))


def _namespace(resource: Resource, arguments: argparse.Namespace) -> str:
    """Where to look; '' is everywhere."""
    across = arguments.all_namespaces and not arguments.name
    return "" if across or not resource.namespaced else arguments.namespace


async def _tables(
    api: GrpcClient, resources: Sequence[Resource], arguments: argparse.Namespace
) -> None:
    """A table for each kind of which there is anything."""
    blocks = []
    for resource in resources:
        space = _namespace(resource, arguments)
        table = await api.table(resource, space, arguments.name, label_selector=arguments.selector)
        if len(resources) > 1:
            _name_kinds(table, resource)
        if table["rows"]:
            wide, spaces = arguments.output == "wide", not space and resource.namespaced
            made = lines(table, wide=wide, namespaces=spaces, colours=_has_colours())
            blocks.append("\n".join(made))
    if blocks:
        print("\n\n".join(blocks))
        return
    everywhere = arguments.all_namespaces or not any(one.namespaced for one in resources)
    where = "" if everywhere else f" in {arguments.namespace} namespace"
    print(f"No resources found{where}.", file=sys.stderr)


def _name_kinds(table: dict[str, Any], resource: Resource) -> None:
    """Write `service/web` where a table says `web`."""
    names = [i for i, c in enumerate(table["columnDefinitions"]) if c["name"] == "Name"]
    for row in table["rows"]:
        for index in names:
            row["cells"][index] = f"{kind_name(resource)}/{row['cells'][index]}"


async def _objects(
    api: GrpcClient, resource: Resource, namespace: str, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """The objects, as plain values."""
    if arguments.name:
        return [codec.decode_plain(await api.get(resource, namespace, arguments.name))]
    page = await api.list(resource, namespace, label_selector=arguments.selector)
    return [codec.decode_plain(data) for data in page.items]


def kind_name(resource: Resource) -> str:
    """`pod`, `deployment.apps`."""
    return resource.singular + (f".{resource.group}" if resource.group else "")


def rendered(
    found: Sequence[tuple[Resource, dict[str, Any]]], arguments: argparse.Namespace
) -> str:
    """Objects in the form of -o: one by itself when it was named, else a List."""
    if arguments.output == "name":
        return "\n".join(
            f"{kind_name(resource)}/{plain['metadata']['name']}" for resource, plain in found
        )
    objects = [plain for _, plain in found]
    document: Any = {"apiVersion": "v1", "kind": "List", "items": objects}
    if arguments.name:
        document = objects[0]
    if arguments.output == "json":
        return json.dumps(document, indent=4, ensure_ascii=False)
    return yaml.encode(document).decode().rstrip()


def _has_colours() -> bool:
    """Whether who reads is a person at a terminal who has not asked for none (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def lines(
    table: dict[str, Any], *, wide: bool, namespaces: bool, colours: bool = False
) -> list[str]:
    """A Table as lines of aligned columns; only `wide` shows columns of lower priority."""
    shown = [
        (index, column["name"].upper())
        for index, column in enumerate(table["columnDefinitions"])
        if wide or not column.get("priority")
    ]
    rows = [["NAMESPACE"] * namespaces + [name for _, name in shown]]
    for row in table["rows"]:
        space = row["object"]["metadata"].get("namespace", "") if namespaces else ""
        cells = [_cell(row["cells"][index]) for index, _ in shown]
        rows.append([space] * namespaces + cells)
    widths = [max(map(len, column)) + GAP for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    if colours and "STATUS" in rows[0]:
        column = rows[0].index("STATUS")
        for row in padded[1:]:
            row[column] = _coloured(row[column])
    return ["".join(row).rstrip() for row in padded]


def _coloured(status: str) -> str:
    """A padded status: green when all is well, yellow when it may become so, red otherwise."""
    word = status.strip()
    comes = word in _COMING or _INITIALISING.fullmatch(word)
    colour = _GREEN if word in _GOOD else _YELLOW if comes else _RED
    return f"{colour}{word}{_PLAIN}{status[len(word) :]}"


def _cell(value: Any) -> str:
    """A cell on one line, without anything that could steer a terminal."""
    text = "<none>" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)
