"""The program wherry-kubelet: it joins, says what is wrong with its settings, and ends quietly."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from common.runtime.rng import SystemRng
from common.security.tokens import new_token
from common.systemd import exits
from tests.fakes.peers.joining import Master
from tests.fakes.peers.systemd import Systemd

WAIT_SECONDS = 30.0


class Kubelet:
    """A process on a machine whose Podman and whose master's node port are away."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.systemd = Systemd(str(directory / "notify"))
        self.environment: dict[str, str] = {}
        """Beside that of the tests."""
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str, program: tuple[str, ...] = ("-m", "node")) -> None:
        """Start it, or another program that is given the same arguments."""
        (self._directory / "tmp").mkdir(exist_ok=True)
        (self._directory / "kubelet.yaml").touch()
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, *program),
            *("--config", str(self._directory / "kubelet.yaml")),
            *("--data-dir", str(self._directory / "data")),
            *("--run-dir", str(self._directory / "run")),
            *("--log-dir", str(self._directory / "logs")),
            *("--podman-socket", str(self._directory / "podman.sock")),
            *("--node-name", "node1", "--node-ip", "127.0.0.1"),
            *arguments,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self.environment, "NOTIFY_SOCKET": self.systemd.address},
        )

    async def said(self, words: str) -> str:
        """Wait until it has printed some words; answers that line."""
        assert self.process is not None
        assert self.process.stderr is not None
        lines = []
        async with asyncio.timeout(WAIT_SECONDS):
            async for line in self.process.stderr:
                lines.append(line.decode())
                if words in lines[-1]:
                    return lines[-1]
        pytest.fail(f"never said {words!r}: {lines}")

    async def ended(self) -> int:
        """Wait until it has ended."""
        assert self.process is not None
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.process.wait()


@pytest.fixture
async def kubelet(tmp_path: Path) -> AsyncIterator[Kubelet]:
    """Not started yet; ended after the test."""
    made = Kubelet(tmp_path)
    yield made
    if made.process is not None and made.process.returncode is None:
        made.process.kill()
        await made.process.wait()
    made.systemd.close()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    """A master that nodes can join."""
    made = Master(tmp_path)
    (tmp_path / "token").write_text(made.token.text())
    yield made
    made.stop()


async def test_it_joins_begins_anew_without_what_joining_needs_and_ends_on_sigterm(
    kubelet: Kubelet, master: Master, tmp_path: Path
) -> None:
    await kubelet.start("--master", master.url, "--token-file", str(tmp_path / "token"))
    await kubelet.said("joined")
    assert "the master cannot be reached" in await kubelet.said("cannot be reached")
    assert kubelet.process is not None
    pid = kubelet.process.pid
    assert "cryptography" not in Path(f"/proc/{pid}/maps").read_text()
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"wherry-kubelet")
    kubelet.process.send_signal(signal.SIGTERM)
    assert await kubelet.ended() == 0
    up, *waiting, stopping = kubelet.systemd.heard()
    assert up == f"READY=1\nSTATUS=node node1 of {master.url}"
    trouble = f"waiting for {master.url}: the master cannot be reached: UNAVAILABLE: "
    assert waiting
    assert all(said.startswith(f"READY=1\nSTATUS={trouble}") for said in waiting)
    assert stopping == "STOPPING=1\nSTATUS=stopping"


async def test_a_podman_that_does_not_answer_holds_up_no_end(
    kubelet: Kubelet, master: Master, tmp_path: Path
) -> None:
    """Its call would keep a thread, and so the process, for a minute."""
    with socket.socket(socket.AF_UNIX) as podman:
        podman.bind(str(tmp_path / "podman.sock"))
        podman.listen(100)
        podman.setblocking(False)
        await kubelet.start("--master", master.url, "--token-file", str(tmp_path / "token"))
        waiting = asyncio.get_running_loop().sock_accept(podman)
        connection, _ = await asyncio.wait_for(waiting, WAIT_SECONDS)
        with connection:
            assert kubelet.process is not None
            kubelet.process.send_signal(signal.SIGTERM)
            assert await kubelet.ended() == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("AddressChanged", "wherry-kubelet: now 10.0.0.2"),
        ("RuntimeError", "RuntimeError: now 10.0.0.2"),
    ],
)
async def test_a_podman_that_does_not_answer_holds_up_no_end_by_an_error(
    kubelet: Kubelet, error: str, line: str
) -> None:
    """The service begins anew when it has ended, and not before."""
    program = f"""
import asyncio, threading
import node.__main__ as kubelet
from common.runtime.offload import Offload
from node.addresses import AddressChanged

async def run(*_):
    asyncio.ensure_future(Offload()(threading.Event().wait))
    await asyncio.sleep(0.1)
    raise {error}("now 10.0.0.2")

kubelet.run, kubelet.credentials.load = run, lambda directory: object()
kubelet.main()
"""
    await kubelet.start("--master", "https://127.0.0.1:1", program=("-c", program))
    await kubelet.said(line)
    assert await kubelet.ended() == exits.FAILURE


async def test_a_master_that_is_away_is_waited_for(kubelet: Kubelet, tmp_path: Path) -> None:
    """A machine that boots beside its master's outage is up, and joins when it can."""
    (tmp_path / "token").write_text(new_token("0" * 64, SystemRng()).text())
    await kubelet.start("--master", "https://127.0.0.1:1", "--token-file", str(tmp_path / "token"))
    assert "level=warning" in await kubelet.said("cannot join yet")
    await kubelet.said("again_in_s=2")
    told = "READY=1\nSTATUS=waiting for https://127.0.0.1:1, to join"
    assert told in kubelet.systemd.heard()
    assert kubelet.process is not None
    assert kubelet.process.returncode is None


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ("", [], "master is not set"),
        ("no-such-key: 1", ["--master", "https://127.0.0.1:1"], "kubelet.yaml:1: no-such-key"),
        ("capacity: 5", ["--master", "https://127.0.0.1:1"], "kubelet.yaml:1: capacity"),
        ("", ["--master", "https://127.0.0.1:1", "--capacity", "gpu=1"], "capacity"),
        ("", ["--master", "https://127.0.0.1:1"], "--token-file is needed"),
        ("", ["--master", "http://127.0.0.1:1", "--token-file", "T"], "is not a URL such as"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line_and_nothing_is_started(
    kubelet: Kubelet,
    master: Master,
    tmp_path: Path,
    settings: str,
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "kubelet.yaml").write_text(settings)
    await kubelet.start(*[str(tmp_path / "token") if a == "T" else a for a in arguments])
    line = await kubelet.said("wherry-kubelet:")
    assert message in line
    assert await kubelet.ended() == exits.CONFIGURATION
    assert not kubelet.systemd.heard()
    assert not os.path.lexists(tmp_path / "run")
