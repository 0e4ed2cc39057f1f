"""Commands in containers: their exit codes, their output, and an end in time."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from common.runtime.offload import Offload
from node.runtime import base
from node.runtime.base import Runtime
from node.runtime.podman import PodmanRuntime
from node.runtime.podman_exec import PodmanExec
from node.runtime.podman_service import PodmanError, PodmanService
from tests.contract.runtime.conftest import EXEC_FAILS as FAILS
from tests.contract.runtime.conftest import EXEC_HANGS as HANGS
from tests.contract.runtime.conftest import EXEC_TRUE as TRUE
from tests.contract.runtime.conftest import a_spec, podman_driver
from tests.servers.podman import Podman, running_podman


async def started(runtime: Runtime) -> str:
    """A container that runs."""
    container_id = await runtime.create_container(a_spec())
    await runtime.start_container(container_id)
    return container_id


async def test_exit_codes(runtime: Runtime) -> None:
    one = await started(runtime)
    assert (await runtime.exec_sync(one, TRUE, timeout_seconds=20)).exit_code == 0
    assert (await runtime.exec_sync(one, FAILS, timeout_seconds=20)).exit_code == 4


async def test_one_that_hangs_is_ended_and_holds_up_no_other(runtime: Runtime) -> None:
    one = await started(runtime)
    hanging = [
        asyncio.create_task(runtime.exec_sync(one, HANGS, timeout_seconds=8)) for _ in range(10)
    ]
    await asyncio.sleep(0)
    assert (await runtime.exec_sync(one, TRUE, timeout_seconds=20)).exit_code == 0
    assert not any(task.done() for task in hanging), "the others hang still"
    found = await asyncio.gather(*hanging, return_exceptions=True)
    assert {type(error) for error in found} == {base.ExecTimedOut}
    assert "timed out after 8s" in str(found[0])


async def test_a_command_that_is_not_there(runtime: Runtime) -> None:
    one = await started(runtime)
    with pytest.raises(base.ExecFailed):
        await runtime.exec_sync(one, ("/no/such/program",), timeout_seconds=20)


async def test_a_container_that_has_ended(runtime: Runtime) -> None:
    one = await started(runtime)
    await runtime.signal_container(one, "KILL")
    async with asyncio.timeout(20):
        while (status := await runtime.container_status(one)) and status.state == "running":
            await asyncio.sleep(0.02)
    with pytest.raises(base.ExecFailed):
        await runtime.exec_sync(one, TRUE, timeout_seconds=20)


@pytest.mark.podman
async def test_the_output_is_told_and_bounded(podman_runtime: PodmanRuntime) -> None:
    one = await started(podman_runtime)
    script = ("/bin/sh", "-c", "echo out; echo err >&2")
    found = await podman_runtime.exec_sync(one, script, timeout_seconds=20)
    assert sorted(found.output.split()) == ["err", "out"]
    loop = "i=0; while [ $i -lt 2000 ]; do echo 0123456789; i=$((i+1)); done"
    found = await podman_runtime.exec_sync(one, ("/bin/sh", "-c", loop), timeout_seconds=60)
    assert len(found.output) == 10 << 10


@pytest.mark.podman
async def test_a_command_that_takes_too_long_is_killed(podman_runtime: PodmanRuntime) -> None:
    one = await started(podman_runtime)
    mark = ("/bin/sleep", "987654")
    with pytest.raises(base.ExecTimedOut):
        await podman_runtime.exec_sync(one, mark, timeout_seconds=3)
    listing = ("/bin/sh", "-c", "cat /proc/[0-9]*/cmdline | grep -c 98765[4]")
    async with asyncio.timeout(20):
        while (await podman_runtime.exec_sync(one, listing, timeout_seconds=20)).exit_code == 0:
            await asyncio.sleep(0.05)


@pytest.mark.podman
async def test_podman_dying_under_a_command_is_neither_success_nor_failure(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    one = await started(podman_runtime)
    begun = ("/bin/sh", "-c", "touch /tmp/begun; sleep 999")
    running = asyncio.create_task(podman_runtime.exec_sync(one, begun, timeout_seconds=100))
    look = ("/bin/sh", "-c", "ls /tmp/begun")
    async with asyncio.timeout(20):
        while (await podman_runtime.exec_sync(one, look, timeout_seconds=20)).exit_code:
            await asyncio.sleep(0.05)
    await podman.kill()
    with pytest.raises(base.RuntimeUnavailable):
        await running
    await podman.start()
    assert (await podman_runtime.exec_sync(one, TRUE, timeout_seconds=20)).exit_code == 0


@pytest.mark.podman
async def test_many_commands_at_once_all_tell_their_end(podman_runtime: PodmanRuntime) -> None:
    one = await started(podman_runtime)
    calls = [podman_runtime.exec_sync(one, FAILS, timeout_seconds=100) for _ in range(30)]
    assert {found.exit_code for found in await asyncio.gather(*calls)} == {4}


class SlowToAsk(PodmanService):
    """Asks how a command has ended only when Podman has forgotten it."""

    async def call_on_loop(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None
    ) -> Any:
        """As the driver's own, later."""
        async with asyncio.timeout(60):
            while method == "GET":
                try:
                    await super().call_on_loop(method, path)
                except PodmanError:
                    break
                await asyncio.sleep(0.05)
        return await super().call_on_loop(method, path, body=body)


@pytest.mark.podman
async def test_an_end_that_podman_has_forgotten_is_neither_success_nor_failure() -> None:
    async with running_podman(exit_command_delay_seconds=1) as service:
        with podman_driver(service.socket_path) as driver:
            one = await started(driver)
        late = PodmanExec(SlowToAsk(service.socket_path, Offload()))
        with pytest.raises(base.RuntimeUnavailable, match="forgotten"):
            await late.run(one, TRUE, timeout_seconds=100)
