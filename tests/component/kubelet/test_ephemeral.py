"""Ephemeral containers on a fake machine."""

from typing import Any

from common.api.types.core_v1 import Pod
from node.runtime.fake import Program
from tests.fakes.kubelet import FakeNode
from tests.fakes.pods import IMAGE, UID, container, pod


def debugged(**fields: Any) -> Pod:
    """A pod to which an ephemeral container has been added."""
    debug = {"name": "debug", "image": IMAGE, "imagePullPolicy": "IfNotPresent", **fields}
    return pod(ephemeralContainers=[debug])


async def test_it_is_started_in_a_pod_that_runs_and_never_again(node: FakeNode) -> None:
    node.runtime.programs |= {("ends",): Program(exit_code=3)}
    await node.assign(pod())
    await node.assign(debugged(command=["ends"], targetContainerName="app"))
    found = await node.containers()
    assert (found["app/0"].state, found["debug/0"].state) == ("running", "exited")
    spec = node.runtime.specs[found["debug/0"].id]
    assert spec.pidns_path == f"/proc/{found['app/0'].pid}/ns/pid"
    node.assigned[UID].status = node.master.last(UID)
    await node.restart()
    await node.wait(400)
    await node.runtime.remove_container(found["debug/0"].id)
    await node.wait(400)
    assert list(await node.containers()) == ["app/0"]
    [status] = node.master.last(UID).ephemeralContainerStatuses
    assert status.state.terminated is not None
    assert (status.state.terminated.exitCode, status.restartCount) == (3, 0)
    assert node.master.last(UID).containerStatuses[0].restartCount == 0


async def test_a_field_that_cannot_be_carried_out_keeps_it_and_nothing_else_waiting(
    node: FakeNode,
) -> None:
    await node.assign(pod())
    await node.assign(debugged(volumeDevices=[{"name": "v", "devicePath": "/dev/x"}]))
    await node.wait(30)
    assert list(await node.containers()) == ["app/0"]
    status = node.master.last(UID)
    assert status.phase == "Running"
    waiting = status.ephemeralContainerStatuses[0].state.waiting
    assert waiting is not None
    assert "volumeDevices" in waiting.message


async def test_one_that_cannot_be_carried_out_keeps_no_pod_from_beginning(node: FakeNode) -> None:
    await node.assign(debugged(volumeDevices=[{"name": "v", "devicePath": "/dev/x"}]))
    assert list(await node.containers()) == ["app/0"]


async def test_an_app_that_is_restarted_leaves_it_alone(node: FakeNode) -> None:
    node.runtime.programs |= {("polite",): Program(term_exit_code=0)}
    await node.assign(pod(containers=[container(command=["polite"])]))
    one = debugged()
    one.spec.containers[0].command = ("polite",)
    await node.assign(one)
    await node.end((await node.containers())["app/0"].id, 1)
    found = await node.containers()
    assert (found["app/1"].state, found["debug/0"].state) == ("running", "running")
