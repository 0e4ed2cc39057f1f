"""Calls of a user outside the cluster, one after the other, until its input ends.

`python -m tests.machines.tools.caller URL...` calls each URL over a new connection every 50 ms and
prints what came of it as JSON: URL -> [calls, [[monotonic time, why of a failed one], ...]].
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.machines.machines import VM, Machines

PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 2.0


@dataclass
class Called:
    """What came of the calls of one URL; `failed` are (monotonic time of the call, why)."""

    calls: int
    failed: list[tuple[float, str]]


@contextlib.contextmanager
def calling(machines: Machines, *urls: str) -> Iterator[dict[str, Called]]:
    """Calls these URLs from outside the machines; what came of it is known afterwards."""
    command = [str(VM), "inside", sys.executable, "-m", "tests.machines.tools.caller", *urls]
    found: dict[str, Called] = {}
    with subprocess.Popen(
        command, env=machines.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as caller:
        yield found
        said, _ = caller.communicate("", timeout=30)
    for url, (calls, failed) in json.loads(said).items():
        found[url] = Called(calls, [(at, why) for at, why in failed])


async def _call(url: str) -> None:
    """Raise OSError or TimeoutError unless the URL answers with 200."""
    parts = urlsplit(url)
    assert parts.hostname
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(f"GET / HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
    if b" 200 " not in answer.split(b"\r\n", 1)[0]:
        raise OSError(f"answered {answer[:40]!r}")


async def _keep_calling(url: str, failed: list[tuple[float, str]]) -> int:
    """Call until cancelled; the number of calls."""
    calls = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            at = time.monotonic()
            try:
                await _call(url)
            except (OSError, TimeoutError) as error:
                failed.append((at, str(error) or "no answer"))
            calls += 1
    return calls


async def _main(urls: list[str]) -> None:
    failed: dict[str, list[tuple[float, str]]] = {url: [] for url in urls}
    tasks = {url: asyncio.create_task(_keep_calling(url, failed[url])) for url in urls}
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks.values():
        task.cancel()
    print(json.dumps({url: (await task, failed[url]) for url, task in tasks.items()}))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
