"""The socket that misbehaves on purpose does so to every connection, at whatever moment it came."""

import asyncio
import socket
from pathlib import Path

from tests.fakes.hostile.faulty_socket import FaultySocket


async def test_a_connection_taken_just_before_a_change_is_cut(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    upstream = await asyncio.start_unix_server(echo, tmp_path / "upstream")
    faulty = FaultySocket(str(tmp_path / "faulty"), str(tmp_path / "upstream"))
    for turns in range(8):
        await faulty.set("pass")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(faulty.path)
            client.sendall(b"x")
            client.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            await faulty.set("gone")
            assert await answer(client) == b"", f"served after {turns} turns of the loop"
    upstream.close()


async def answer(client: socket.socket) -> bytes:
    """What comes; nothing from a connection that was cut."""
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), 5)
    except ConnectionResetError:
        return b""
