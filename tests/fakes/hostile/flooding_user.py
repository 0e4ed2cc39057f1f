"""A user with a role in one namespace who floods: creates, lists, watches, and reads nothing.

`python -m tests.fakes.hostile.flooding_user KUBECONFIG NAMESPACE SECONDS` is one, in a process of
its own; it prints how many answers of each kind it got, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from common.client.https import KubeConfig, client_context

CREATORS = 24
LISTERS = 24
WATCHES = 300
SLOW_READERS = 8
OBJECT = {"data": {"k": "x" * 4096}}
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class FloodingUser:
    """Counts the answers by what was asked and their code."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = KubeConfig(kubeconfig)
        pair = config.certificate
        assert pair is not None
        self._context = client_context(config.ca_pem, pair)
        parts = urlsplit(config.server)
        self._address, self._port = parts.hostname, parts.port
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"
        self._numbers = itertools.count()
        self.answers: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CREATORS):
                group.create_task(self._again("create"))
            for _ in range(LISTERS):
                group.create_task(self._again("list"))
            for _ in range(WATCHES):
                group.create_task(self._watch())
            for _ in range(SLOW_READERS):
                group.create_task(self._read_nothing())

    async def _again(self, what: str) -> None:
        """The same over and over, on one connection for as long as there is one."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                reader, writer = await self._connect()
                try:
                    while True:
                        self._ask(writer, what)
                        self.answers[f"{what} {await _answer(reader)}"] += 1
                finally:
                    writer.close()
            await asyncio.sleep(0.05)

    def _ask(self, writer: asyncio.StreamWriter, what: str) -> None:
        if what == "list":
            writer.write(_request("GET", self._path))
            return
        name = {"metadata": {"name": f"flood-{next(self._numbers)}"}}
        writer.write(_request("POST", self._path, json.dumps({**name, **OBJECT}).encode()))

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                reader, writer = await self._connect()
                try:
                    writer.write(_request("GET", f"{self._path}?watch=true"))
                    line = await reader.readline()
                    self.answers[f"watch {line.split()[1].decode()}"] += 1
                    while await reader.read(1 << 16):
                        pass
                finally:
                    writer.close()
            await asyncio.sleep(0.05)

    async def _read_nothing(self) -> None:
        """Ask for lists and leave them where they are."""
        while True:
            with contextlib.suppress(OSError):
                _, writer = await self._connect(limit=1)
                try:
                    for _ in range(20):
                        writer.write(_request("GET", self._path))
                    await asyncio.sleep(5)
                finally:
                    writer.transport.abort()

    async def _connect(self, limit: int = 1 << 16) -> Streams:
        return await asyncio.open_connection(
            self._address, self._port, ssl=self._context, limit=limit
        )


def _request(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> str:
    """The code of an answer, which is read to its end."""
    code = (await reader.readline()).split()[1].decode()
    size, chunked = 0, False
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        size = int(value) if name.lower() == "content-length" else size
        chunked = chunked or name.lower() == "transfer-encoding"
    await reader.readexactly(size)
    while chunked:
        piece = int((await reader.readline()).split(b";")[0], 16)
        await reader.readexactly(piece + 2)
        chunked = piece > 0
    return code


async def main(kubeconfig: str, namespace: str, seconds: str) -> None:
    """Flood for a while."""
    user = FloodingUser(Path(kubeconfig), namespace)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(float(seconds)):
            await user.run()
    print(json.dumps(user.answers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
