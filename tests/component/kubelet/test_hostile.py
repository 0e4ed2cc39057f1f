"""Pods and assignments that no machine can carry out: told by name, tried ever more rarely."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from common.api.errors import StatusError
from node.kubelet.sessions.log_server import LogServer
from node.kubelet.volumes.volumes import Volumes
from protos import node_v1_pb2
from tests.fakes.kubelet import FakeNode
from tests.fakes.pods import UID, container, pod


def told(node: FakeNode, reason: str) -> list[str]:
    """The messages of one reason's events."""
    return [message for why, message in node.events if why == reason]


@pytest.mark.parametrize("path", ["/a\0b", "relative"])
async def test_a_path_of_the_machine_that_is_none_is_told_and_waits(
    node: FakeNode, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    await node.assign(pod(volumes=[{"name": "v", "hostPath": {"path": path}}]))
    await node.wait(3600)
    said = told(node, "FailedMount")
    assert 'volume "v"' in said[0]
    assert "spec.volumes[v].hostPath.path" in said[0]
    assert len(said) < 25, "with the back-off of any failure"
    assert [record for record in caplog.records if record.exc_info] == []
    assert not Path("relative").exists()


@pytest.mark.parametrize(
    "fields", [{"command": ["a\0"]}, {"workingDir": "\0"}, {"env": [{"name": "A", "value": "\0"}]}]
)
async def test_a_text_that_no_program_can_have_is_why_its_container_waits(
    node: FakeNode, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    await node.assign(pod(containers=[container(**fields)]))
    await node.wait(60)
    [status] = node.master.last(UID).containerStatuses
    waiting = status.state.waiting
    assert waiting is not None
    assert waiting.reason == "CreateContainerConfigError"
    assert "must not contain NUL" in waiting.message
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_mistake_of_ours_is_told_and_tried_ever_more_rarely(
    node: FakeNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(Volumes, "make", fail)
    await node.assign(pod())
    await node.wait(3600)
    said = told(node, "FailedSync")
    assert said[0] == "error syncing pod: RecursionError: maximum recursion depth exceeded"
    assert 6 < len(said) < 25
    assert len(caplog.records) == len(said)


async def test_what_the_kernel_refuses_to_remove_is_told_and_tried_again(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.assign(pod())
    real, refusing = Volumes.remove, True

    def remove(volumes: Volumes, uid: str) -> bool:
        if refusing:
            raise PermissionError(1, "Operation not permitted", "/x")
        return real(volumes, uid)

    monkeypatch.setattr(Volumes, "remove", remove)
    await node.remove(UID)
    await node.wait(3600)
    said = told(node, "FailedKillPod")
    assert "Operation not permitted" in said[0]
    assert 6 < len(said) < 30
    refusing = False
    await node.wait(301)
    assert node.kubelet.addresses() == set()


async def test_a_large_volume_goes_in_turns(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.assign(pod())
    turns = [True, False, False]
    monkeypatch.setattr(Volumes, "remove", lambda *_: turns.pop())
    await node.remove(UID)
    await node.wait(31)
    assert turns == []
    assert await node.containers() == {}


async def test_what_is_said_of_a_failure_is_bounded(node: FakeNode) -> None:
    """A pod of a megabyte must not become a status and an event of as many each time."""
    volumes = [{"name": f"v{n}", "hostPath": {"path": "x" * 1000}} for n in range(200)]
    image = "localhost/" + "x" * 100_000
    await node.assign(pod(volumes=volumes))
    await node.assign(pod(metadata={"uid": "u2"}, containers=[container(image=f"{image} y")]))
    assert max(len(message) for message in told(node, "FailedMount")) < 50_000
    [status] = node.master.last("u2").containerStatuses
    assert status.state.waiting is not None
    assert len(status.state.waiting.message) <= 4096


@pytest.mark.parametrize("hostile", ["fifo", "link", "directory"])
async def test_a_log_that_was_replaced_is_refused_and_holds_up_nobody(
    node: FakeNode, tmp_path: Path, hostile: str
) -> None:
    """Catalogue row F22: by a container that has the directory of logs mounted."""
    await node.assign(pod())
    file = Path((await node.containers())["app/0"].log_path)
    (tmp_path / "secret").write_text("2030-01-01T00:00:00Z stdout F of the machine\n")
    if hostile == "fifo":
        os.mkfifo(file)
    elif hostile == "link":
        file.symlink_to(tmp_path / "secret")
    else:
        file.mkdir()
    server = LogServer(node.kubelet, node.clock, node.offload)
    request = node_v1_pb2.LogRequest(uid=UID, container="app", name="web", tail_lines=-1)
    with pytest.raises(StatusError, match="the log of web/app cannot be read") as refused:
        _ = [piece async for piece in server.logs(request)]
    assert refused.value.code == 500
