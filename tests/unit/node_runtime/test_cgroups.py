"""Limits as the kernel's files have them, in version 1, hybrid and 2 of cgroups."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from node.runtime import cgroups
from node.runtime.base import Limits, weights

PATH = "/machine.slice/libpod-1"
V1 = {
    "cpu{}/cpu.shares": "25\n",
    "cpu{}/cpu.cfs_quota_us": "3500\n",
    "cpu{}/cpu.cfs_period_us": "100000\n",
    "memory{}/memory.limit_in_bytes": "41943040\n",
    "memory{}/memory.usage_in_bytes": "1000000\n",
}
HYBRID = {**V1, "unified/cgroup.controllers": "", "unified{}/cgroup.procs": "1\n"}
V2 = {
    "cgroup.controllers": "cpu memory\n",
    "{}/cpu.weight": "39\n",
    "{}/cpu.max": "3500 100000\n",
    "{}/memory.max": "41943040\n",
    "{}/memory.current": "1000000\n",
}


def made(root: Path, files: Mapping[str, str]) -> Path:
    """A tree of cgroups."""
    for name, text in files.items():
        file = root / name.format(PATH).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize("files", [V1, HYBRID])
def test_version_1_and_hybrid(tmp_path: Path, files: Mapping[str, str]) -> None:
    root = made(tmp_path, files)
    wanted = Limits(memory_bytes=40 << 20, cpu_shares=25, cpu_quota_us=3500)
    assert cgroups.limits(PATH, root) == wanted
    assert cgroups.memory_bytes(PATH, root) == 1_000_000


def test_version_2(tmp_path: Path) -> None:
    root = made(tmp_path, V2)
    wanted = Limits(memory_bytes=40 << 20, cpu_weight=39, cpu_quota_us=3500)
    assert cgroups.limits(PATH, root) == wanted
    assert cgroups.memory_bytes(PATH, root) == 1_000_000


@pytest.mark.parametrize(
    "files",
    [
        V1
        | {
            "cpu{}/cpu.cfs_quota_us": "-1\n",
            "memory{}/memory.limit_in_bytes": "9223372036854771712\n",
        },
        V2 | {"{}/cpu.max": "max 100000\n", "{}/memory.max": "max\n"},
    ],
)
def test_no_limit_is_0(tmp_path: Path, files: Mapping[str, str]) -> None:
    found = cgroups.limits(PATH, made(tmp_path, files))
    assert found is not None
    assert (found.memory_bytes, found.cpu_quota_us) == (0, 0)


def test_another_period_counts(tmp_path: Path) -> None:
    found = cgroups.limits(PATH, made(tmp_path, V2 | {"{}/cpu.max": "5000 50000\n"}))
    assert found is not None
    assert found.cpu_quota_us == 10_000


@pytest.mark.parametrize("files", [{}, {"cgroup.controllers": ""}, V2 | {"{}/cpu.weight": "x"}])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, files: Mapping[str, str]) -> None:
    root = made(tmp_path, files)
    assert cgroups.limits(PATH, root) is None
    assert cgroups.memory_bytes("/gone", root) == 0


@pytest.mark.parametrize(
    ("shares", "known"), [(2, (1, 1)), (1024, (39, 100)), (262144, (10000,) * 2)]
)
def test_shares_as_weights(shares: int, known: tuple[int, int]) -> None:
    assert weights(shares) == known


WANTED = Limits(memory_bytes=10_000, cpu_shares=1024, cpu_quota_us=3500)
HAS = Limits(memory_bytes=8192, cpu_shares=1024, cpu_quota_us=3500)


@pytest.mark.parametrize(
    ("has", "differs"),
    [
        (HAS, set()),
        (Limits(memory_bytes=8192, cpu_weight=39, cpu_quota_us=4000), set()),
        (Limits(memory_bytes=8192, cpu_weight=100, cpu_quota_us=3500), set()),
        (Limits(memory_bytes=8192, cpu_weight=40, cpu_quota_us=3500), {"cpu"}),
        (Limits(memory_bytes=8192, cpu_shares=1024), {"cpu"}),
        (Limits(memory_bytes=12288, cpu_shares=1023, cpu_quota_us=3500), {"cpu", "memory"}),
        (Limits(cpu_shares=1024, cpu_quota_us=3400), {"cpu", "memory"}),
    ],
)
def test_what_the_kernel_rounds_is_no_difference(has: Limits, differs: set[str]) -> None:
    assert has.differences(WANTED) == differs


def test_a_0_asks_for_nothing() -> None:
    assert HAS.differences(Limits(cpu_shares=1024)) == set()
