"""Answers `wherry proxy`: the table, and where a packet would go, over a unix socket.

One line of JSON asks, one answers; only root can open the socket. Shapes: the questions
`{"ask": "table"}` and `{"ask": "trace", "client", "address", "port", "protocol"}`; the answers
have members of `Table` rows or of `model.Answer`, or `{"error": text}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from node.kubeproxy.model import route
from node.kubeproxy.table import Endpoint, Table, is_ipv4

QUESTION_MAX_BYTES = 4096


class Question(msgspec.Struct):
    """What is asked."""

    ask: str
    client: str = ""
    address: str = ""
    port: int = 0
    protocol: str = "tcp"


@asynccontextmanager
async def serving(path: str, table: Table) -> AsyncIterator[None]:
    """Answer on a socket that only its owner may open, until the block ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            question = await reader.readline()
            writer.write(msgspec.json.encode(reply(table, question)) + b"\n")
            await writer.drain()
        writer.close()

    _clear(path)
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(answer, path, limit=QUESTION_MAX_BYTES)
    finally:
        os.umask(before)
    async with server:
        yield
    _clear(path)


def _clear(path: str) -> None:
    """A socket that a former process has left is in the way."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)


def reply(table: Table, question: bytes) -> dict[str, Any]:
    """The answer to one line."""
    try:
        asked = msgspec.json.decode(question, type=Question)
        if asked.ask == "table":
            return _table(table)
        if asked.ask == "trace":
            return _trace(table, asked)
    except (msgspec.DecodeError, ValueError) as error:
        return {"error": str(error)}
    return {"error": f"nobody knows how to answer {asked.ask!r}"}


def _table(table: Table) -> dict[str, Any]:
    rows = []
    for key in sorted(table.services):
        for port in table.ports(key):
            row = msgspec.to_builtins(port)
            row["title"] = port.title
            row["endpoints"] = [_words(endpoint) for endpoint in port.endpoints]
            row["local_endpoints"] = [_words(endpoint) for endpoint in port.local_endpoints]
            rows.append(row)
    refused = [msgspec.to_builtins(one) for one in table.refused()]
    return {"node": table.node.name, "ports": rows, "refused": refused}


def _trace(table: Table, asked: Question) -> dict[str, Any]:
    for address in (asked.client, asked.address):
        if not is_ipv4(address):
            raise ValueError(f"{address!r} is not an IPv4 address")
    if asked.protocol not in ("tcp", "udp"):
        raise ValueError(f"protocol must be tcp or udp, not {asked.protocol!r}")
    answer = route(table, asked.client, asked.address, asked.port, asked.protocol)
    made: dict[str, Any] = msgspec.to_builtins(answer)
    made["endpoints"] = [_words(endpoint) for endpoint in answer.endpoints]
    return made


def _words(endpoint: Endpoint) -> str:
    return f"{endpoint.address}:{endpoint.port}"
