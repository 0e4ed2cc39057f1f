"""Sandboxes without namespaces, and a machine's worth of namespaces for real ones."""

import asyncio
import ctypes
import os
import shutil
import socket
from dataclasses import dataclass, field

import pytest

from common.runtime.offload import Offload
from node.network.routes import Network, wanted_routes
from node.runtime.base import SandboxFailed, SandboxSpec, SandboxStatus

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_PROGRAMS = ("ip", "mount", "nsenter", "umount", "unshare")


@dataclass
class FakeSandbox:
    """The Sandbox protocol in memory. `faults` are raised by the next calls of create."""

    sandboxes: dict[str, SandboxStatus] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    async def create(self, spec: SandboxSpec) -> SandboxStatus:
        """Note a sandbox."""
        await asyncio.sleep(0)
        if self.faults:
            raise SandboxFailed(self.faults.pop(0))
        directory = f"/fake/{spec.pod_uid}"
        own = "" if spec.host_network else directory
        return self.sandboxes.setdefault(
            spec.pod_uid,
            SandboxStatus(
                pod_uid=spec.pod_uid,
                pod_namespace=spec.pod_namespace,
                pod_name=spec.pod_name,
                address=spec.address,
                netns_path=own and f"{own}/net",
                ipcns_path=f"{directory}/ipc",
                utsns_path=own and f"{own}/uts",
                directory=directory,
                ready=True,
            ),
        )

    async def remove(self, pod_uid: str) -> None:
        """Forget it."""
        await asyncio.sleep(0)
        self.sandboxes.pop(pod_uid, None)

    async def list(self) -> list[SandboxStatus]:
        """All of them."""
        await asyncio.sleep(0)
        return list(self.sandboxes.values())

    async def socket(self, netns_path: str) -> socket.socket:
        """One of this machine: the loopback address is its own."""
        made = socket.socket()
        made.setblocking(False)
        return made


class FakeRoutes:
    """The Routes protocol without a kernel: notes the routes that it would have."""

    node_ip = "192.168.7.1"

    def __init__(self) -> None:
        self.applied: list[list[str]] = []
        self.refusal = ""

    async def apply(self, network: Network, pod_cidr: str) -> None:
        """Decide as the real one does."""
        self.applied.append(list(wanted_routes(network, self.node_ip, "lan", pod_cidr)))
        if self.refusal:
            raise SandboxFailed(self.refusal)


def require_namespaces() -> None:
    """Skip the test where namespaces cannot be made; fail it in CI."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def enter_own_machine() -> None:
    """Give the calling thread, and what it starts, an own network, /sys and mounts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for command in ("mount --make-rprivate /", "mount -t sysfs sysfs /sys", "ip link set lo up"):
        assert os.waitstatus_to_exitcode(os.system(command)) == 0, command


async def own_machine() -> Offload:
    """An Offload of one thread whose calls happen on a machine of its own; close() ends it."""
    require_namespaces()
    offload = Offload(threads=1)
    await offload(enter_own_machine)
    return offload
