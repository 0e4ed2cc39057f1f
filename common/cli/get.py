"""`wherry get KIND [NAME]`: objects as a table, JSON, YAML or names."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from common.api.codec import json as codec
from common.api.resource import Resource
from common.cli.connection import add_namespace, client
from common.client.grpc import GrpcClient

GAP = 3


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("get", help="show objects")
    parser.add_argument("kind", help="such as pods, deployments, po")
    parser.add_argument("name", nargs="?", default="", help="only this object")
    add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument("-l", "--selector", default="", help="labels, such as app=web")
    parser.add_argument("-o", "--output", default="", choices=("json", "yaml", "name", "wide"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Print what is asked for; raises StatusError."""
    asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> None:
    async with client(arguments) as api:
        resource = api.resource(arguments.kind)
        across = arguments.all_namespaces and not arguments.name
        namespace = "" if across or not resource.namespaced else arguments.namespace
        if arguments.output in ("", "wide"):
            table = await api.table(
                resource, namespace, arguments.name, label_selector=arguments.selector
            )
            if not table["rows"]:
                where = f" in {namespace} namespace" if namespace else ""
                print(f"No resources found{where}.", file=sys.stderr)
                return
            wide, spaces = arguments.output == "wide", across and resource.namespaced
            print("\n".join(lines(table, wide=wide, namespaces=spaces)))
            return
        print(rendered(resource, await _objects(api, resource, namespace, arguments), arguments))


async def _objects(
    api: GrpcClient, resource: Resource, namespace: str, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """The objects, as plain values."""
    if arguments.name:
        return [codec.decode_plain(await api.get(resource, namespace, arguments.name))]
    found = await api.list(resource, namespace, label_selector=arguments.selector)
    return [codec.decode_plain(data) for data in found.items]


def rendered(
    resource: Resource, objects: Sequence[dict[str, Any]], arguments: argparse.Namespace
) -> str:
    """Objects in the form of -o: one by itself when it was named, else a List."""
    if arguments.output == "name":
        singular = resource.singular + (f".{resource.group}" if resource.group else "")
        return "\n".join(f"{singular}/{plain['metadata']['name']}" for plain in objects)
    document: Any = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    if arguments.name:
        document = objects[0]
    if arguments.output == "json":
        return json.dumps(document, indent=4, ensure_ascii=False)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip()


def lines(table: dict[str, Any], *, wide: bool, namespaces: bool) -> list[str]:
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
    return [
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cell(value: Any) -> str:
    """A cell on one line, without anything that could steer a terminal."""
    text = "<none>" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)
