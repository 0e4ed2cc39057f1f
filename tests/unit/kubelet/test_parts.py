"""The kubelet's smaller parts: lifecycle table, termination messages, node status."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from common.api import conditions
from node.files.regular import open_regular
from node.kubelet.effects import termination
from node.kubelet.machine import node_status
from node.kubelet.machine.node_status import Machine, parse_capacity
from node.kubelet.pod import lifecycle
from node.kubelet.pod.lifecycle import ATTEMPT_STATES, PHASES, UnknownPhase
from node.kubelet.pod.memory import Moment, PodMemory, StartFailure, Stop
from node.runtime.base import ImageStatus, State
from tests.fakes.pods import ran

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("old", PHASES)
@pytest.mark.parametrize("new", PHASES)
def test_a_phase_never_goes_back(old: lifecycle.Phase, new: lifecycle.Phase) -> None:
    """Every pair: the new phase where it may follow, and the old one where it may not."""
    assert lifecycle.advance(old, new) == (new if new in PHASES[old] else old)
    assert lifecycle.advance("", new) == new


def test_an_unknown_phase_is_a_mistake() -> None:
    with pytest.raises(UnknownPhase, match="Sleeping"):
        lifecycle.advance("Sleeping", "Running")


@pytest.mark.parametrize("old", get_args(State))
@pytest.mark.parametrize("new", get_args(State))
def test_a_container_that_has_ended_never_runs_again(old: State, new: State) -> None:
    """Every pair: what cannot follow is named with its container."""
    now = ran(attempt=3, state=new)
    wrong = "" if new in ATTEMPT_STATES[old] else f"container app, attempt 3: {old} -> {new}"
    assert lifecycle.illegal_transition(ran(attempt=3, state=old), now) == wrong
    assert lifecycle.illegal_transition(None, now) == ""
    missteps = {"running": ("created",), "exited": ("created", "running"), "unknown": ("created",)}
    assert bool(wrong) == (new in missteps.get(old, ()))


def test_nothing_is_remembered_of_a_container_that_is_gone() -> None:
    known = PodMemory(started_at=Moment(NOW, 0.0))
    known.start_failures["a"] = StartFailure("no such file", NOW)
    known.stops["a"], known.hooks[("a", "preStop")] = Stop(since=0.0), "running"
    known.vanished["a"] = known.messages["a"] = known.signalled["a"] = "x"
    known.began["a"] = known.ended["a"] = known.hook_retries[("a", "preStop")] = 1.0
    known.forget("a")
    assert known == PodMemory(started_at=Moment(NOW, 0.0))
    known.forget("a")


def test_a_termination_message_is_at_most_4096_bytes(tmp_path: Path) -> None:
    file = tmp_path / "m"
    assert termination.read(file) == ""
    file.write_bytes(b"x" * 5000)
    assert len(termination.read(file)) == 4096
    file.write_bytes(b"\xff\xfe")
    assert len(termination.read(file)) == 2


def test_messages_and_logs_are_read_from_nothing_but_a_file(tmp_path: Path) -> None:
    """Catalogue row F22: a container has put a link, a pipe or 10 GB in the place of its file."""
    link, pipe, directory = tmp_path / "link", tmp_path / "pipe", tmp_path / "directory"
    secret = tmp_path / "secret"
    secret.write_text("2030-01-01T00:00:00Z stdout F of the machine\n")
    link.symlink_to(secret)
    os.mkfifo(pipe)
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket"))
    hostile = (link, pipe, directory, tmp_path / "socket", Path("/dev/zero"))
    assert [termination.read(file) for file in hostile] == [""] * 5
    assert [termination.log_tail(file) for file in hostile] == [""] * 5
    for file in hostile:
        with pytest.raises(OSError, match=r"symbolic links|not a regular file|No such device"):
            open_regular(file)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(10 << 30)
    assert len(termination.read(huge)) == 4096


def test_the_end_of_a_log_is_a_message(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_text("".join(f"2030-01-01T00:00:00Z stdout F line {n}\n" for n in range(200)))
    assert termination.log_tail(file) == "".join(f"line {n}\n" for n in range(120, 200))


def test_parts_of_a_line_are_one_in_a_message_and_2048_bytes_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    parts = "".join(f"2030-01-01T00:00:00Z stderr P {n:04}\n" for n in range(900))
    file.write_text(f"2030-01-01T00:00:00Z stderr F before\n{parts}")
    assert termination.log_tail(file) == "".join(f"{n:04}" for n in range(900))[-2048:]
    file.write_text(f"2030-01-01T00:00:00Z stderr F before\n{parts[-3100:]}")
    assert termination.log_tail(file).startswith("before\n")


@pytest.mark.parametrize(
    "text", ["cpu", "cpu=", "cpu=x", "gpu=1", "memory=1Qi", "cpu=1;memory=1Gi"]
)
def test_a_capacity_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="capacity"):
        parse_capacity(text)


def test_what_the_operator_gives_is_the_capacity() -> None:
    found = node_status.capacity(8, 16 << 30, 100 << 30, "cpu=1500m,memory=2Gi")
    assert (found["cpu"], found["memory"], found["pods"]) == ("1500m", "2Gi", "110")


def status_of(error: str = "", images: tuple[ImageStatus, ...] = ()) -> node_status.NodeStatus:
    """The status of a small machine."""
    machine = Machine(
        name="node1",
        address="10.0.0.11",
        capacity=node_status.capacity(2, 4 << 30, 9 << 30, ""),
        machine_id="m",
        boot_id="b",
        os_image="Debian",
        version="0.1.0",
    )
    return node_status.node_status(
        machine, runtime_version="4.3.1", unready=error, images=images, now=NOW
    )


def test_a_node_is_ready_while_its_runtime_answers() -> None:
    status = status_of()
    ready = conditions.find(status.conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("True", "KubeletReady")
    assert ready.message == "kubelet is posting ready status"
    assert {c.type for c in status.conditions} == {
        "Ready",
        "MemoryPressure",
        "DiskPressure",
        "PIDPressure",
    }
    assert status.nodeInfo.containerRuntimeVersion == "podman://4.3.1"


def test_a_node_without_its_runtime_is_not_ready_and_says_why() -> None:
    ready = conditions.find(status_of("connection refused").conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "KubeletNotReady")
    assert "connection refused" in ready.message


def test_the_largest_fifty_images_are_listed() -> None:
    images = tuple(ImageStatus(f"sha256:{n}", (f"i:{n}",), n) for n in range(60))
    nameless = ImageStatus("sha256:none", (), 1 << 40)
    listed = status_of(images=(*images, nameless)).images
    assert [image.names[0] for image in listed][:2] == ["i:59", "i:58"]
    assert len(listed) <= 50
    assert all(image.names for image in listed)
