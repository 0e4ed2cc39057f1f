"""A container's life: made, started, signalled, ended, removed; each step may be repeated."""

import pytest

from node.runtime import base
from node.runtime.base import Runtime
from tests.contract.runtime.conftest import ENDS_ON_TERM, EXITS_3, MISSING, a_spec, eventually

NO_ID = "f" * 64


async def test_a_made_container_is_listed_with_what_it_was_made_from(runtime: Runtime) -> None:
    spec = a_spec(attempt=4)
    container_id = await runtime.create_container(spec)
    [found] = await runtime.list_containers()
    assert (found.id, found.state, found.pid) == (container_id, "created", 0)
    assert (found.pod_uid, found.pod_namespace, found.pod_name) == (
        spec.pod_uid,
        "default",
        "web",
    )
    assert (found.name, found.attempt, found.image) == ("app", 4, spec.image)
    assert (found.started_at, found.finished_at) == ("", "")
    image = await runtime.image_status(spec.image)
    assert image is not None
    assert found.image_id == image.id


async def test_making_it_twice_makes_one(runtime: Runtime) -> None:
    first = await runtime.create_container(a_spec())
    assert await runtime.create_container(a_spec()) == first
    assert await runtime.create_container(a_spec(attempt=1)) != first
    assert len(await runtime.list_containers()) == 2


async def test_a_started_container_runs_and_starting_it_again_changes_nothing(
    runtime: Runtime,
) -> None:
    container_id = await runtime.create_container(a_spec())
    await runtime.start_container(container_id)
    [first] = await runtime.list_containers()
    assert first.state == "running"
    assert first.pid > 0
    assert first.started_at
    await runtime.start_container(container_id)
    assert await runtime.list_containers() == [first]


async def test_what_has_ended_is_not_started_again(runtime: Runtime) -> None:
    container_id = await runtime.create_container(a_spec(command=EXITS_3))
    await runtime.start_container(container_id)
    first = await eventually(runtime, container_id, lambda status: status.state == "exited")
    await runtime.start_container(container_id)
    assert await runtime.container_status(container_id) == first


async def test_an_exit_code_is_told(runtime: Runtime) -> None:
    container_id = await runtime.create_container(a_spec(command=EXITS_3))
    await runtime.start_container(container_id)
    ended = await eventually(runtime, container_id, lambda status: status.state == "exited")
    assert (ended.exit_code, ended.oom_killed) == (3, False)
    assert ended.started_at
    assert ended.finished_at


async def test_kill_ends_it_with_137(runtime: Runtime) -> None:
    container_id = await runtime.create_container(a_spec())
    await runtime.start_container(container_id)
    await runtime.signal_container(container_id, "KILL")
    ended = await eventually(runtime, container_id, lambda status: status.state == "exited")
    assert (ended.exit_code, ended.oom_killed) == (137, False)


async def test_a_program_may_end_on_term(runtime: Runtime) -> None:
    container_id = await runtime.create_container(a_spec(command=ENDS_ON_TERM))
    await runtime.start_container(container_id)
    # The shell may not have set its trap yet: an ignored TERM is sent again.
    await eventually(runtime, container_id, lambda status: status.state == "running")
    for _ in range(100):
        await runtime.signal_container(container_id, "TERM")
        status = await runtime.container_status(container_id)
        assert status is not None
        if status.state == "exited":
            break
    ended = await eventually(runtime, container_id, lambda status: status.state == "exited")
    assert ended.exit_code == 5


async def test_a_signal_to_what_has_ended_or_gone_is_no_error(runtime: Runtime) -> None:
    container_id = await runtime.create_container(a_spec(command=EXITS_3))
    await runtime.signal_container(container_id, "KILL")
    await runtime.start_container(container_id)
    await eventually(runtime, container_id, lambda status: status.state == "exited")
    for signal in ("TERM", "KILL"):
        await runtime.signal_container(container_id, signal)
    await runtime.signal_container(NO_ID, "TERM")


async def test_removing_ends_it_at_once_and_may_be_repeated(runtime: Runtime) -> None:
    container_id = await runtime.create_container(a_spec())
    await runtime.start_container(container_id)
    await runtime.remove_container(container_id)
    assert await runtime.list_containers() == []
    assert await runtime.container_status(container_id) is None
    await runtime.remove_container(container_id)
    await runtime.remove_container(NO_ID)


async def test_starting_what_is_gone_is_told(runtime: Runtime) -> None:
    with pytest.raises(base.ContainerNotFound):
        await runtime.start_container(NO_ID)


async def test_a_program_that_is_not_there_fails_the_start_and_leaves_it_created(
    runtime: Runtime,
) -> None:
    container_id = await runtime.create_container(a_spec(command=MISSING))
    with pytest.raises(base.StartFailed, match="no such file or directory"):
        await runtime.start_container(container_id)
    status = await runtime.container_status(container_id)
    assert status is not None
    assert (status.state, status.exit_code) == ("created", 0)
