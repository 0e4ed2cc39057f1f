"""`wherry port-forward POD [LOCAL:]PORT...`: ports of a pod as ports of this machine."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from typing import Any, NamedTuple

from common.api.errors import StatusError
from common.cli.connection import add_namespace, client
from common.cli.pods.exec import pod_name
from common.client.conversations import PodConnection
from common.client.grpc import GrpcClient

LOOPBACK = "127.0.0.1"
PORT_MAX = 65535
READ_BYTES = 64 << 10


class Forward(NamedTuple):
    """A port here (0: any that is free) and the port of the pod that it leads to."""

    local: int
    remote: int


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "port-forward", help="reach ports of a pod from this machine", allow_abbrev=False
    )
    parser.add_argument("pod", help="NAME or pod/NAME")
    parser.add_argument(
        "ports",
        nargs="+",
        type=forward,
        metavar="[LOCAL:]PORT",
        help="the pod's port, with another one here before it; `:PORT` takes any that is free",
    )
    add_namespace(parser)
    parser.add_argument("--address", default=LOOPBACK, help=f"where to listen; default: {LOOPBACK}")
    parser.set_defaults(run=run)


def forward(text: str) -> Forward:
    """`8080:80`, `80` or `:80`; raises ArgumentTypeError for anything else."""
    local, colon, remote = text.rpartition(":")
    numbers = [local or "0", remote] if colon else [remote, remote]
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not [LOCAL:]PORT")
    made = Forward(*map(int, numbers))
    if not 0 < made.remote <= PORT_MAX or made.local > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not [LOCAL:]PORT")
    return made


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Listen until Ctrl-C. Raises StatusError and OSError."""
    asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> None:
    name = pod_name(arguments.pod)
    async with client(arguments) as api:
        await api.get(api.resource("pods"), arguments.namespace, name)  # it may not be there
        for ports in arguments.ports:
            serve = partial(_serve, api, arguments.namespace, name, ports.remote)
            server = await asyncio.start_server(
                serve, arguments.address, ports.local, limit=READ_BYTES
            )
            host, port = server.sockets[0].getsockname()[:2]
            print(f"Forwarding from {host}:{port} -> {ports.remote}", flush=True)
        await asyncio.Event().wait()


async def _serve(
    api: GrpcClient,
    namespace: str,
    pod: str,
    port: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """One connection; what goes wrong with it ends no other."""
    try:
        async with api.connection(namespace, pod, port) as connection, asyncio.TaskGroup() as group:
            sending = group.create_task(_send(reader, connection))
            async for data in connection:
                writer.write(data)
                await writer.drain()
            sending.cancel()
    except* StatusError as refusals:
        for error in refusals.exceptions:
            print(f"wherry: port {port}: {error}", file=sys.stderr, flush=True)
    except* ConnectionError:
        pass  # whoever had connected has left
    finally:
        writer.close()


async def _send(reader: asyncio.StreamReader, connection: PodConnection) -> None:
    while data := await reader.read(READ_BYTES):
        await connection.write(data)
    await connection.close()
