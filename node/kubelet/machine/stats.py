"""Usage of the machine and of its containers: psutil and cgroup files. The only door to psutil."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from node.runtime.base import ContainerStatus
from protos import node_v1_pb2

CGROUP = Path("/sys/fs/cgroup")


class _Sample(NamedTuple):
    """Cumulated CPU time in nanoseconds, working set in bytes."""

    cpu_ns: int
    memory_bytes: int


class Stats:
    """Measures; rates are over the time since the last measurement. Blocking: use an Offload."""

    def __init__(self, disk_path: str) -> None:
        self._disk_path = disk_path
        self._last: dict[str, int] = {}
        self._last_ms = 0
        self._last_cpu_ns = 0

    def measure(self, now_ms: int, containers: list[ContainerStatus]) -> node_v1_pb2.NodeUsage:
        """The usage now; CPU figures are zero the first time."""
        window_ms = now_ms - self._last_ms if self._last_ms else 0
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(self._disk_path)
        network, machine = psutil.net_io_counters(), _of_machine(memory)
        usage = node_v1_pb2.NodeUsage(
            timestamp_ms=now_ms,
            window_ms=window_ms,
            cpu_nanocores=self._node_cpu(machine.cpu_ns, window_ms),
            memory_working_set_bytes=machine.memory_bytes,
            memory_available_bytes=memory.available,
            disk_used_bytes=disk.used,
            disk_total_bytes=disk.total,
            network_receive_bytes=network.bytes_recv,
            network_transmit_bytes=network.bytes_sent,
            load_1m=psutil.getloadavg()[0],
        )
        self._add_pods(usage, containers, window_ms)
        self._last_ms = now_ms
        return usage

    def _node_cpu(self, cpu_ns: int, window_ms: int) -> int:
        spent_ns, self._last_cpu_ns = cpu_ns - self._last_cpu_ns, cpu_ns
        return max(0, spent_ns * 1000 // window_ms) if window_ms else 0

    def _add_pods(
        self, usage: node_v1_pb2.NodeUsage, containers: list[ContainerStatus], window_ms: int
    ) -> None:
        pods: dict[str, list[ContainerStatus]] = defaultdict(list)
        for status in containers:
            if status.state == "running" and status.cgroup_path:
                pods[status.pod_uid].append(status)
        last: dict[str, int] = {}
        for uid, members in pods.items():
            first = members[0]
            pod = usage.pods.add(namespace=first.pod_namespace, name=first.pod_name, uid=uid)
            for status in members:
                sample = read_cgroup(status.cgroup_path)
                if sample is None:
                    continue
                last[status.id] = sample.cpu_ns
                before = self._last.get(status.id)
                rate = 0
                if before is not None and window_ms:
                    rate = max(0, (sample.cpu_ns - before) * 1000 // window_ms)
                pod.containers.add(
                    name=status.name,
                    cpu_nanocores=rate,
                    memory_working_set_bytes=sample.memory_bytes,
                )
        self._last = last


def _of_machine(memory: Any) -> _Sample:
    """The machine's figures.

    Of its own cgroup, if it is a container itself, where /proc would show the whole host; otherwise
    of /proc, since the root cgroup of version 2 has no memory figures.
    """
    if (sample := read_cgroup("/")) is not None:
        return sample
    times = psutil.cpu_times()
    busy_s = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    return _Sample(int(busy_s * 1e9), memory.total - memory.available)


def read_cgroup(path: str) -> _Sample | None:
    """The figures of a container's cgroup, v1 or v2; None when it has gone."""
    try:
        if (CGROUP / "cgroup.controllers").exists():
            return _read_v2(CGROUP / path.lstrip("/"))
        return _read_v1(path.lstrip("/"))
    except (OSError, ValueError, KeyError):
        return None


def _read_v1(path: str) -> _Sample:
    cpu = int((CGROUP / "cpuacct" / path / "cpuacct.usage").read_text())
    memory = CGROUP / "memory" / path
    used = int((memory / "memory.usage_in_bytes").read_text())
    inactive = _table(memory / "memory.stat")["total_inactive_file"]
    return _Sample(cpu, max(0, used - inactive))


def _read_v2(directory: Path) -> _Sample:
    cpu = _table(directory / "cpu.stat")["usage_usec"] * 1000
    used = int((directory / "memory.current").read_text())
    inactive = _table(directory / "memory.stat")["inactive_file"]
    return _Sample(cpu, max(0, used - inactive))


def _table(file: Path) -> dict[str, int]:
    lines = (line.split() for line in file.read_text().splitlines())
    return {name: int(value) for name, value in lines}


def host_capacity() -> tuple[int, int, int]:
    """(CPUs, memory in bytes, disk in bytes) of the machine."""
    disk = psutil.disk_usage("/")
    return psutil.cpu_count() or 1, psutil.virtual_memory().total, disk.total


def boot_id() -> str:
    """Changes with every boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
