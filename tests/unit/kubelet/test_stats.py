"""Usage out of cgroup files, version 1 and 2: rates over the time between two measurements."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from node.kubelet.machine import stats
from node.kubelet.machine.stats import Stats
from protos import node_v1_pb2
from tests.fakes.pods import UID, ran

PATH = "/libpod_parent/libpod-app"
MIB = 1 << 20
Write = Callable[[int], None]
"""Sets the CPU time of the container, in nanoseconds."""


def write_v1(root: Path, cpu_ns: int, path: str = PATH) -> None:
    """A container's figures as version 1 shows them."""
    for controller in ("cpuacct", "memory"):
        (root / controller / path[1:]).mkdir(parents=True, exist_ok=True)
    (root / "cpuacct" / path[1:] / "cpuacct.usage").write_text(f"{cpu_ns}\n")
    memory = root / "memory" / path[1:]
    (memory / "memory.usage_in_bytes").write_text(f"{30 * MIB}\n")
    (memory / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {10 * MIB}\n")


def write_v2(root: Path, cpu_ns: int, path: str = PATH) -> None:
    """A container's figures as version 2 shows them."""
    (root / "cgroup.controllers").write_text("cpu memory\n")
    directory = root / path[1:]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cpu.stat").write_text(f"usage_usec {cpu_ns // 1000}\nuser_usec 1\n")
    (directory / "memory.current").write_text(f"{30 * MIB}\n")
    (directory / "memory.stat").write_text(f"anon 5\ninactive_file {10 * MIB}\n")


@pytest.fixture(params=[write_v1, write_v2])
def write(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A machine with one container, on each version."""
    monkeypatch.setattr(stats, "CGROUP", tmp_path)
    return lambda cpu_ns: request.param(tmp_path, cpu_ns)


def measured(measurer: Stats, now_ms: int, cgroup_path: str = PATH) -> node_v1_pb2.NodeUsage:
    """The usage with one running container and one that has ended."""
    running = ran(cgroup_path=cgroup_path)
    ended = ran("old", state="exited", cgroup_path="/gone")
    return measurer.measure(now_ms, [running, ended])


def test_the_rate_is_over_the_time_between_two_looks(write: Write) -> None:
    measurer = Stats("/")
    write(1_000_000_000)
    [first] = measured(measurer, 10_000).pods[0].containers
    assert first.cpu_nanocores == 0
    write(3_000_000_000)
    usage = measured(measurer, 14_000)
    [second] = usage.pods[0].containers
    assert second.cpu_nanocores == 500_000_000
    assert second.memory_working_set_bytes == 20 * MIB
    assert usage.window_ms == 4_000
    assert (usage.pods[0].uid, usage.pods[0].name) == (UID, "web")


def test_a_counter_that_begins_anew_is_no_negative_rate(write: Write) -> None:
    measurer = Stats("/")
    write(3_000_000_000)
    measured(measurer, 10_000)
    write(1_000)
    [container] = measured(measurer, 20_000).pods[0].containers
    assert container.cpu_nanocores == 0


def test_a_container_that_has_gone_is_left_out(write: Write) -> None:
    write(1)
    assert list(measured(Stats("/"), 10_000, "/gone").pods[0].containers) == []


def test_the_machine_itself() -> None:
    usage = Stats("/").measure(10_000, [])
    assert usage.memory_working_set_bytes + usage.memory_available_bytes > 0
    assert 0 < usage.disk_used_bytes <= usage.disk_total_bytes
    assert usage.cpu_nanocores == 0, "nothing to compare with yet"


@pytest.mark.parametrize("version", [write_v1, write_v2])
def test_a_machine_that_shares_a_kernel_shows_its_own_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Callable[[Path, int, str], None]
) -> None:
    """`kubectl top nodes` of three machines on one host showed three times the host."""
    monkeypatch.setattr(stats, "CGROUP", tmp_path)
    measurer = Stats("/")
    version(tmp_path, 7_000_000_000, "/")
    measurer.measure(10_000, [])
    version(tmp_path, 9_000_000_000, "/")
    usage = measurer.measure(14_000, [])
    assert usage.cpu_nanocores == 500_000_000
    assert usage.memory_working_set_bytes == 20 * MIB


def test_without_a_cgroup_of_its_own_a_machine_shows_what_proc_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "CGROUP", tmp_path)
    memory = psutil.virtual_memory()
    usage = Stats("/").measure(10_000, [])
    assert 0 < usage.memory_working_set_bytes < memory.total
