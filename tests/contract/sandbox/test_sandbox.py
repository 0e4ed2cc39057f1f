"""Made once however often it is asked for, told, removed."""

from node.runtime.base import Sandbox
from tests.contract.sandbox.conftest import a_spec


async def test_a_sandbox_is_told_as_it_was_asked_for(sandbox: Sandbox) -> None:
    spec = a_spec()
    status = await sandbox.create(spec)
    assert status.ready
    assert (status.pod_uid, status.address) == (spec.pod_uid, "10.42.7.2")
    assert (status.pod_namespace, status.pod_name) == ("default", "web-2")
    assert len({status.netns_path, status.ipcns_path, status.utsns_path}) == 3
    assert await sandbox.list() == [status]


async def test_making_it_twice_makes_one(sandbox: Sandbox) -> None:
    first = await sandbox.create(a_spec())
    assert await sandbox.create(a_spec()) == first
    assert await sandbox.list() == [first]


async def test_pods_have_their_own(sandbox: Sandbox) -> None:
    made = [await sandbox.create(a_spec(number)) for number in (2, 3)]
    assert sorted(s.pod_uid for s in await sandbox.list()) == [s.pod_uid for s in made]
    await sandbox.remove(made[0].pod_uid)
    assert await sandbox.list() == [made[1]]


async def test_a_pod_on_the_machines_network_has_its_own_memory_only(sandbox: Sandbox) -> None:
    status = await sandbox.create(a_spec(address=""))
    assert (status.netns_path, status.utsns_path) == ("", "")
    assert status.ipcns_path
    assert await sandbox.list() == [status]
    await sandbox.remove(status.pod_uid)
    assert await sandbox.list() == []


async def test_removing_may_be_repeated(sandbox: Sandbox) -> None:
    status = await sandbox.create(a_spec())
    for _ in range(2):
        await sandbox.remove(status.pod_uid)
    assert await sandbox.list() == []
    again = await sandbox.create(a_spec())
    assert again == status
