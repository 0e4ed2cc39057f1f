"""Pod sandboxes: namespaces pinned by bind mounts, a veth with a /32 address, shared files.

No bridge and no masquerade: the node routes each address to its veth, and the pod sends everything
to the gateway 169.254.1.1, which is the veth's other end by a permanent neighbour entry. (Proxy ARP
would do, but answers only where the node has a route to that address: a default route.)
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

import msgspec

from common.runtime.offload import Offload
from common.runtime.reasons import reason
from node.files.mounts import mount_tmpfs, points
from node.files.removal import remove_tree
from node.network import podsocket
from node.network.hostports import HostPorts, PortsOfPod
from node.network.routes import LINK_PREFIX, forward
from node.runtime.base import HostPort, SandboxFailed, SandboxSpec, SandboxStatus

GATEWAY = "169.254.1.1"
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
NAMESPACES = ("net", "ipc", "uts")
ETC = "etc"
"""Holds hosts, hostname and resolv.conf: a small file system in memory, mounted."""
ETC_SPARE_BYTES = 256 << 10
"""How much more than we wrote a pod may write to these three."""
ROOT_MODE = 0o700
"""Below are files that any user may read or write, for containers run as any: none gets there."""
COMMAND_TIMEOUT_SECONDS = 30.0
NO_VALUES: Mapping[str, str] = {}

MAKE_IPC = 'unshare --ipc="$DIRECTORY/ipc" true'
MAKE_NAMESPACES = (
    'unshare --net="$DIRECTORY/net" --ipc="$DIRECTORY/ipc" --uts="$DIRECTORY/uts" hostname "$NAME"'
)
NO_IPV6 = """setting=/proc/sys/net/ipv6/conf/$LINK/disable_ipv6
if [ -e $setting ]; then echo 1 > $setting; fi"""
"""Pods have no IPv6; a node that spoke it with one would take its router advertisements."""
CONNECT_NODE = f"""ip -batch - <<END
link add $LINK address {GATEWAY_MAC} type veth peer name eth0 netns $DIRECTORY/net
link set $LINK up
route replace $ADDRESS/32 dev $LINK
END
{NO_IPV6}"""
CONNECT_POD = f"""nsenter --net="$DIRECTORY/net" ip -batch - <<END
link set lo up
addr add $ADDRESS/32 dev eth0
link set eth0 up
neigh add {GATEWAY} lladdr {GATEWAY_MAC} dev eth0 nud permanent
route add {GATEWAY} dev eth0 scope link
route add default via {GATEWAY} dev eth0
END"""
ROUTE_LOCALNET = "echo 1 > /proc/sys/net/ipv4/conf/$LINK/route_localnet"
"""Programs of the machine reach a pod's host ports at 127.0.0.1 too: hostports keeps pods from the
machine's own loopback."""
CONNECTED = (MAKE_NAMESPACES, CONNECT_NODE, CONNECT_POD)
"""How a sandbox is made: one shell, for starting it takes longer than most of what it does. The
host name is set inside, as Podman may not set it."""


class _Meta(msgspec.Struct):
    """What is written down of a sandbox, once it is whole."""

    uid: str
    namespace: str
    name: str
    address: str
    ports: tuple[HostPort, ...] = ()


Sandboxes = list[SandboxStatus]


class NamespaceSandbox:
    """The Sandbox protocol with Linux namespaces, below one directory (/run/wherry/sandboxes)."""

    def __init__(self, root: Path, offload: Offload) -> None:
        self._root = root
        self._offload = offload
        self._ports = HostPorts(self._ports_by_uid)
        self.repair = self._ports.apply

    async def create(self, spec: SandboxSpec) -> SandboxStatus:
        """Make a pod's sandbox; a whole one is answered, the rest of a former try is removed."""
        directory = self._root / spec.pod_uid
        existing = await self._offload(_read, directory)
        if existing is not None and existing.ready:
            return existing
        await self.remove(spec.pod_uid)
        if spec.host_ports:
            named = f"{spec.pod_namespace}/{spec.pod_name}"
            wanted = PortsOfPod(named, spec.address, spec.host_ports)
            await self._offload(self._ports.claim, spec.pod_uid, wanted)
        try:
            await self._offload(self._make_files, directory, spec)
        except OSError as error:
            raise SandboxFailed(
                f"the files of a sandbox cannot be made: {reason(error)}"
            ) from error
        values = {
            "DIRECTORY": str(directory),
            "NAME": spec.hostname,
            "ADDRESS": spec.address,
            "LINK": link_name(spec.pod_uid),
        }
        steps = (MAKE_IPC,) if spec.host_network else CONNECTED
        settings = [_setting(*one, spec.host_network) for one in spec.sysctls.items()]
        local = (ROUTE_LOCALNET,) if spec.host_ports else ()
        await self._run(["sh", "-ec", "\n".join((*steps, *settings, *local))], values)
        if not spec.host_network:
            await self._offload(forward)
        ports = tuple(spec.host_ports)
        meta = _Meta(spec.pod_uid, spec.pod_namespace, spec.pod_name, spec.address, ports)
        await self._offload((directory / "sandbox.json").write_bytes, msgspec.json.encode(meta))
        return _status(directory, meta, ready=True)

    def _make_files(self, directory: Path, spec: SandboxSpec) -> None:
        """The files that are bound into every container, and the points to mount at.

        What containers may write to is memory of their pod's own and of a size of its own: the
        machine's /run is none of theirs.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        self._root.chmod(ROOT_MODE)
        files = {
            "hosts": spec.hosts.encode(),
            "hostname": f"{spec.hostname}\n".encode(),
            "resolv.conf": spec.resolv_conf.encode(),
        }
        for name in ("shm", ETC):
            (directory / name).mkdir(parents=True)
        for name in NAMESPACES:
            (directory / name).touch()
        options = f"mode=1777,size={spec.shm_bytes}"
        mount_tmpfs(directory / "shm", options, data_only=True)
        size = sum(len(content) for content in files.values()) + ETC_SPARE_BYTES
        mount_tmpfs(directory / ETC, f"mode=0755,size={size}", data_only=True)
        for name, content in files.items():
            (directory / ETC / name).write_bytes(content)

    async def _run(self, command: Sequence[str], values: Mapping[str, str] = NO_VALUES) -> None:
        """Run a program with `values` in its environment; raises SandboxFailed."""
        await self._offload(_run_now, command, values)

    async def remove(self, pod_uid: str) -> None:
        """Unpin the namespaces (the veth goes with them), unmount and delete the rest."""
        directory = self._root / pod_uid
        meta = await self._offload(_read_meta, directory)
        if not await self._offload(directory.exists):
            return
        await self._disconnect(link_name(pod_uid))
        try:
            while not await self._offload(remove_tree, directory):
                pass
        except OSError as error:
            raise SandboxFailed(f"{directory} cannot be deleted: {reason(error)}") from error
        if (meta is not None and meta.ports) or self._ports.has(pod_uid):
            await self._offload(self._ports.release, pod_uid)

    def _ports_by_uid(self) -> dict[str, PortsOfPod]:
        """What each sandbox that is written down has of the machine's ports."""
        known = [_read_meta(path) for path in self._root.iterdir()] if self._root.is_dir() else []
        return {
            meta.uid: PortsOfPod(f"{meta.namespace}/{meta.name}", meta.address, meta.ports)
            for meta in known
            if meta is not None and meta.ports
        }

    async def _disconnect(self, link: str) -> None:
        """Delete a veth pair. The kernel may be doing so already, its namespace having ended."""
        there = Path(f"/sys/class/net/{link}").exists
        if not await self._offload(there):
            return
        try:
            await self._run(["ip", "link", "delete", link])
        except SandboxFailed:
            if await self._offload(there):
                raise

    async def socket(self, netns_path: str) -> socket.socket:
        """A TCP socket in a pod's network, or in the machine's own."""
        return await self._offload(podsocket.tcp_socket, netns_path)

    async def list(self) -> list[SandboxStatus]:
        """Every sandbox, whole or not."""
        return await self._offload(self._list)

    def _list(self) -> Sandboxes:
        if not self._root.is_dir():
            return []
        mounted = points()
        sandboxes = [_read(directory, mounted) for directory in sorted(self._root.iterdir())]
        return [status for status in sandboxes if status is not None]


def _read(directory: Path, mounted: frozenset[str] | None = None) -> SandboxStatus | None:
    """The sandbox in a directory; not ready when it is not whole. Mount points are read once for
    many sandboxes, for there are five of each."""
    if not directory.is_dir():
        return None
    meta = _read_meta(directory)
    if meta is None:
        return _status(directory, _Meta(directory.name, "", "", ""), ready=False)
    mounted = points() if mounted is None else mounted
    parts = ("shm", ETC, *NAMESPACES) if meta.address else ("shm", ETC, "ipc")
    whole = {str(directory / name) for name in parts}
    linked = not meta.address or Path(f"/sys/class/net/{link_name(meta.uid)}").exists()
    return _status(directory, meta, ready=whole <= mounted and linked)


def _read_meta(directory: Path) -> _Meta | None:
    """What is written down of a sandbox; None of one that is not whole."""
    try:
        return msgspec.json.decode((directory / "sandbox.json").read_bytes(), type=_Meta)
    except (OSError, msgspec.DecodeError):
        return None


def _status(directory: Path, meta: _Meta, *, ready: bool) -> SandboxStatus:
    own = bool(meta.address)
    return SandboxStatus(
        pod_uid=meta.uid,
        pod_namespace=meta.namespace,
        pod_name=meta.name,
        address=meta.address,
        netns_path=str(directory / "net") if own else "",
        ipcns_path=str(directory / "ipc"),
        utsns_path=str(directory / "uts") if own else "",
        directory=str(directory),
        ready=ready,
    )


def link_name(pod_uid: str) -> str:
    """The node's end of a pod's veth pair; 15 characters is what Linux allows."""
    return LINK_PREFIX + hashlib.sha256(pod_uid.encode()).hexdigest()[:12]


def _setting(path: str, value: str, host_network: bool) -> str:
    """A line of shell that sets a sysctl in a pod's namespaces."""
    joined = "" if host_network else ' --net="$DIRECTORY/net"'
    write = """sh -ec 'printf %s "$2" > "/proc/sys/$1"' sysctl"""
    return f'nsenter --ipc="$DIRECTORY/ipc"{joined} {write} {quote(path)} {quote(value)}'


def _run_now(command: Sequence[str], values: Mapping[str, str]) -> None:
    """Run a program; raises SandboxFailed with what it printed when it fails."""
    try:
        ended = subprocess.run(
            command,
            env={**os.environ, **values},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SandboxFailed(f"{command[0]}: {reason(error)}") from error
    if ended.returncode:
        raise SandboxFailed(f"{command[0]}: {ended.stderr.decode('utf-8', 'replace').strip()}")
