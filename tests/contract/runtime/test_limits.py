"""Limits of a container, changed while it runs."""

import pytest

from node.runtime import base
from node.runtime.base import Limits, Runtime
from node.runtime.fake import FakeRuntime
from tests.contract.runtime.conftest import EXITS_3, a_spec, eventually

MIB = 1 << 20
MADE = {"memory_limit_bytes": 64 * MIB, "cpu_shares": 100, "cpu_quota_us": 20_000}
NO_ID = "f" * 64


async def running(runtime: Runtime) -> str:
    container_id = await runtime.create_container(a_spec(resources="said", **MADE))
    await runtime.start_container(container_id)
    return container_id


async def limits(runtime: Runtime, container_id: str) -> Limits:
    status = await runtime.container_status(container_id)
    assert status is not None
    assert status.limits is not None
    return status.limits


async def test_a_running_container_tells_its_limits_and_what_it_was_made_with(
    runtime: Runtime,
) -> None:
    container_id = await running(runtime)
    [found] = await runtime.list_containers()
    assert found.resources == "said"
    assert found.limits == await limits(runtime, container_id)
    wanted = Limits(memory_bytes=64 * MIB, cpu_shares=100, cpu_quota_us=20_000)
    assert (await limits(runtime, container_id)).differences(wanted) == set()


async def test_limits_change_while_it_runs_one_by_one(runtime: Runtime) -> None:
    container_id = await running(runtime)
    before = await runtime.container_status(container_id)
    await runtime.set_limits(container_id, Limits(memory_bytes=32 * MIB))
    found = await limits(runtime, container_id)
    kept = Limits(memory_bytes=32 * MIB, cpu_shares=100, cpu_quota_us=20_000)
    assert found.differences(kept) == set()
    await runtime.set_limits(container_id, Limits(cpu_shares=300, cpu_quota_us=50_000))
    found = await limits(runtime, container_id)
    wanted = Limits(memory_bytes=32 * MIB, cpu_shares=300, cpu_quota_us=50_000)
    assert found.differences(wanted) == set()
    await runtime.set_limits(container_id, Limits(memory_bytes=96 * MIB))
    found = await limits(runtime, container_id)
    assert found.differences(Limits(memory_bytes=96 * MIB, cpu_shares=300)) == set()
    [after] = await runtime.list_containers()
    assert before is not None
    assert (after.pid, after.started_at) == (before.pid, before.started_at)
    assert after.limits == found


async def test_a_container_without_limits_gets_some(runtime: Runtime) -> None:
    container_id = await runtime.create_container(a_spec())
    await runtime.start_container(container_id)
    wanted = Limits(memory_bytes=64 * MIB, cpu_shares=512, cpu_quota_us=30_000)
    await runtime.set_limits(container_id, wanted)
    assert (await limits(runtime, container_id)).differences(wanted) == set()


async def test_memory_that_is_in_use_is_not_taken(runtime: Runtime) -> None:
    container_id = await running(runtime)
    if isinstance(runtime, FakeRuntime):
        runtime.memory_bytes[container_id] = 9000
    with pytest.raises(base.BelowUsage) as caught:
        await runtime.set_limits(container_id, Limits(memory_bytes=8192, cpu_shares=300))
    assert str(caught.value).startswith("memory limit (8192) below current usage (")
    wanted = Limits(memory_bytes=64 * MIB, cpu_shares=100, cpu_quota_us=20_000)
    assert (await limits(runtime, container_id)).differences(wanted) == set()


async def test_what_does_not_run_has_no_limits_to_set(runtime: Runtime) -> None:
    container_id = await runtime.create_container(a_spec(command=EXITS_3))
    with pytest.raises(base.LimitsRefused):
        await runtime.set_limits(container_id, Limits(cpu_shares=300))
    await runtime.start_container(container_id)
    ended = await eventually(runtime, container_id, lambda status: status.state == "exited")
    assert ended.limits is None
    with pytest.raises(base.LimitsRefused):
        await runtime.set_limits(container_id, Limits(cpu_shares=300))
    with pytest.raises(base.ContainerNotFound):
        await runtime.set_limits(NO_ID, Limits(cpu_shares=300))
