"""Streams of processes in containers: both ways, with an end, and nothing left behind."""

import asyncio

import pytest

from node.runtime import base
from node.runtime.base import STDERR, STDOUT, Runtime, Stdio, Streams
from node.runtime.podman import PodmanRuntime
from tests.contract.runtime.conftest import EXEC_CAT as CAT
from tests.contract.runtime.conftest import EXEC_FAILS as FAILS
from tests.contract.runtime.conftest import EXEC_TRUE as TRUE
from tests.contract.runtime.conftest import a_spec, eventually
from tests.contract.runtime.test_exec import started

SECONDS = 30.0
BOTH = Stdio(stdin=True)


async def everything(streams: Streams) -> dict[int, bytes]:
    """What comes until the end, by stream."""
    seen = {STDOUT: b"", STDERR: b""}
    async with asyncio.timeout(SECONDS):
        while True:
            channel, data = await streams.read()
            if not data:
                return seen
            seen[channel] += data


async def test_what_is_written_is_read_and_the_end_too(runtime: Runtime) -> None:
    one = await started(runtime)
    async with runtime.exec(one, CAT, BOTH) as streams:
        await streams.write(b"hello ")
        await streams.write(b"there")
        await streams.close_stdin()
        assert await everything(streams) == {STDOUT: b"hello there", STDERR: b""}
        assert await streams.exit_code() == 0


async def test_without_input_a_command_reads_the_end_at_once(runtime: Runtime) -> None:
    one = await started(runtime)
    async with runtime.exec(one, CAT, Stdio()) as streams:
        assert await everything(streams) == {STDOUT: b"", STDERR: b""}
        assert await streams.exit_code() == 0


async def test_exit_codes_are_told(runtime: Runtime) -> None:
    one = await started(runtime)
    async with runtime.exec(one, FAILS, Stdio()) as streams:
        await everything(streams)
        assert await streams.exit_code() == 4
    async with runtime.exec(one, ("/no/such/program",), Stdio()) as streams:
        await everything(streams)
        assert await streams.exit_code() == 127


async def test_a_container_that_has_ended_runs_nothing(runtime: Runtime) -> None:
    one = await started(runtime)
    await runtime.signal_container(one, "KILL")
    async with asyncio.timeout(SECONDS):
        while (status := await runtime.container_status(one)) and status.state == "running":
            await asyncio.sleep(0.02)
    with pytest.raises(base.ExecFailed):
        async with runtime.exec(one, TRUE, Stdio()):
            pass
    with pytest.raises(base.AttachFailed):
        async with runtime.attach(one, Stdio()):
            pass


@pytest.mark.podman
async def test_streams_are_apart_and_with_a_terminal_they_are_one(
    podman_runtime: PodmanRuntime,
) -> None:
    one = await started(podman_runtime)
    script = ("/bin/sh", "-c", "echo out; echo err >&2; exit 5")
    async with podman_runtime.exec(one, script, Stdio()) as streams:
        assert await everything(streams) == {STDOUT: b"out\n", STDERR: b"err\n"}
        assert await streams.exit_code() == 5
    async with podman_runtime.exec(one, script, Stdio(terminal=True)) as streams:
        assert await everything(streams) == {STDOUT: b"out\r\nerr\r\n", STDERR: b""}


@pytest.mark.podman
async def test_a_terminal_has_the_size_that_it_is_given(podman_runtime: PodmanRuntime) -> None:
    one = await started(podman_runtime)
    asking = ("/bin/sh", "-c", "read go; stty size")
    async with podman_runtime.exec(one, asking, Stdio(stdin=True, terminal=True)) as streams:
        await streams.resize(132, 43)
        await streams.write(b"go\n")
        assert b"43 132" in (await everything(streams))[STDOUT]


@pytest.mark.podman
async def test_all_keys_of_a_terminal_are_the_programs(podman_runtime: PodmanRuntime) -> None:
    """Podman's own detach keys would keep Ctrl-P back, and Ctrl-P Ctrl-Q would end the session."""
    one = await started(podman_runtime)
    asking = ("/bin/sh", "-c", "stty raw -echo; echo ready; head -c 3 | od -An -tx1")
    async with podman_runtime.exec(one, asking, Stdio(stdin=True, terminal=True)) as streams:
        assert await streams.read() == (STDOUT, b"ready\n")
        await streams.write(b"\x10\x11x")
        assert (await everything(streams))[STDOUT].split() == [b"10", b"11", b"78"]


@pytest.mark.podman
async def test_many_megabytes_pass_unchanged_both_ways(podman_runtime: PodmanRuntime) -> None:
    one = await started(podman_runtime)
    data = bytes(range(256)) * (32 << 10)
    async with podman_runtime.exec(one, CAT, BOTH) as streams:

        async def write() -> None:
            for start in range(0, len(data), 1 << 16):
                await streams.write(data[start : start + (1 << 16)])
            await streams.close_stdin()

        writing = asyncio.create_task(write())
        assert (await everything(streams))[STDOUT] == data
        await writing


@pytest.mark.podman
async def test_a_command_whose_user_leaves_is_killed(podman_runtime: PodmanRuntime) -> None:
    one = await started(podman_runtime)
    mark = ("/bin/sh", "-c", "echo ready; exec sleep 987654")
    async with podman_runtime.exec(one, mark, Stdio()) as streams:
        assert await streams.read() == (STDOUT, b"ready\n")
    listing = ("/bin/sh", "-c", "cat /proc/[0-9]*/cmdline | grep -c 98765[4]")
    async with asyncio.timeout(SECONDS):
        while (await podman_runtime.exec_sync(one, listing, timeout_seconds=20)).exit_code == 0:
            await asyncio.sleep(0.05)


@pytest.mark.podman
@pytest.mark.parametrize("stdio", [Stdio(), Stdio(terminal=True), Stdio(True, terminal=True)])
async def test_a_process_runs_on_when_who_was_attached_leaves(
    podman_runtime: PodmanRuntime, stdio: Stdio
) -> None:
    one = await podman_runtime.create_container(a_spec(command=CAT, stdin=True, tty=stdio.terminal))
    await podman_runtime.start_container(one)
    async with podman_runtime.attach(one, stdio) as streams:
        if stdio.stdin:
            await streams.write(b"hello\n")
            channel, data = await streams.read()
            assert (channel, data[:5]) == (STDOUT, b"hello")
    look = await podman_runtime.exec_sync(one, ("/bin/true",), timeout_seconds=20)
    assert look.exit_code == 0


@pytest.mark.podman
async def test_without_a_terminal_who_leaves_is_the_end_of_the_input(
    podman_runtime: PodmanRuntime,
) -> None:
    """conmon closes it; Kubernetes does so only with stdinOnce (docs/roadmap.md)."""
    one = await podman_runtime.create_container(a_spec(command=CAT, stdin=True))
    await podman_runtime.start_container(one)
    async with podman_runtime.attach(one, BOTH) as streams:
        await streams.write(b"hello\n")
        assert await streams.read() == (STDOUT, b"hello\n")
    await eventually(podman_runtime, one, lambda status: status.state == "exited")


@pytest.mark.podman
async def test_attached_streams_end_with_the_process(podman_runtime: PodmanRuntime) -> None:
    talks = ("/bin/sh", "-c", "read go; echo bye; exit 1")
    one = await podman_runtime.create_container(a_spec(command=talks, stdin=True))
    await podman_runtime.start_container(one)
    async with podman_runtime.attach(one, BOTH) as streams:
        await streams.write(b"go\n")
        assert (await everything(streams))[STDOUT] == b"bye\n"
