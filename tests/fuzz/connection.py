"""A small HTTP/1.1 client that sends what it is told to, however wrong."""

from __future__ import annotations

import asyncio
import ssl

from tests.servers.master import RunningMaster

ANSWER_SECONDS = 60.0


class Connection:
    """One connection of an administrator; it is opened when it is needed."""

    def __init__(self, master: RunningMaster) -> None:
        self._master = master
        self._context: ssl.SSLContext | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bool]:
        """(status, whether the connection goes on); reads the answer to its end."""
        if self._streams is None:
            if self._context is None:
                self._context = self._master.context(self._master.kubeconfig.certificate)
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._master.port, ssl=self._context
            )
        reader, writer = self._streams
        lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value]
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            return await _answer(reader, method)

    def close(self) -> None:
        """Forget the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def _answer(reader: asyncio.StreamReader, method: str) -> tuple[int, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    alive = head.startswith("http/1.1") and "connection: close" not in head
    if method == "HEAD" or status in (204, 304):
        return status, alive
    if "transfer-encoding: chunked" in head:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        length = next((x for x in head.split("\r\n") if x.startswith("content-length:")), ":0")
        await reader.readexactly(int(length.partition(":")[2]))
    return status, alive
