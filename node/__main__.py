"""wherry-kubelet: flags, join, and then the kubelet until a signal. Containers outlive it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop

from common.api.codec import json as codec
from common.api.types.core_v1 import ObjectReference, Pod
from common.api.types.meta_v1 import ObjectMeta
from common.runtime import process
from common.runtime.backoff import Backoff
from common.runtime.clock import SystemClock
from common.runtime.config import ConfigError
from common.runtime.offload import Offload
from common.runtime.rng import SystemRng
from common.security.digest import digest
from common.security.files import InsecurePath, write_private
from common.systemd import exits, journal, levels
from common.systemd.machine import is_going_down
from common.systemd.notify import Notifier
from node import addresses
from node import config as configuration
from node.addresses import AddressChanged
from node.config import KubeletConfig
from node.kubelet.effects.executor import Tools
from node.kubelet.effects.processes import PidfdProcesses
from node.kubelet.kubelet import Kubelet
from node.kubelet.machine import stats as usage
from node.kubelet.machine.node_status import Machine, capacity
from node.kubelet.node_logs import LogServer
from node.kubelet.pod.env import HostFacts
from node.kubelet.pod.memory import MESSAGE_MAX
from node.kubelet.pod.sandboxes import NodeFiles, resolver_for_pods
from node.kubelet.volumes.tokens import Tokens
from node.kubelet.volumes.volumes import Volumes
from node.network.ipam import AddressPool
from node.network.keeper import NetworkKeeper
from node.network.routes import Network, Peer, PodNetwork
from node.network.sandbox import NamespaceSandbox
from node.probes.network import NetworkChecks
from node.runtime.base import POD_UID
from node.runtime.podman import PodmanRuntime
from node.session import credentials
from node.session.assigned import AssignedStore
from node.session.control import ControlStream, Handlers
from node.session.credentials import Credentials, Held
from node.session.renewal import Renewal, by_process
from node.session.sessions import Sessions
from node.session.tokens import ask
from node.session.writer import DiskWriter
from protos import node_v1_pb2

log = logging.getLogger("node")
NAME = "wherry-kubelet"
PKI = "node-pki"
POLL_SECONDS = 0.2
SHUTDOWN_SECONDS = 10.0
"""What pods have at the most when the machine goes down."""
JOIN_RETRY = Backoff(initial_seconds=1.0, cap_seconds=10.0)
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"
"""The servers that systemd-resolved asks itself."""
SELINUX = Path("/sys/fs/selinux/enforce")


def main() -> None:
    """Entry point of the console script."""
    process.set_title(NAME)
    try:
        config = configuration.parse(sys.argv[1:])
        journal.configure(NAME, encoding=config.log_format)
        machine = make_machine(config)
        directory = Path(config.data_dir) / PKI
        found = credentials.load(directory)
        if found is None:
            _join(config, directory, machine)
        else:
            uvloop.run(run(config, machine, found, Notifier.take()))
            # Calls that Podman does not answer would keep their threads, and so this process, for a
            # minute. What a thread writes is whole or not there, as after a crash.
            os._exit(0)
    except (configuration.NoRoute, AddressChanged) as error:
        exits.give_up(NAME, error)
    except (ConfigError, InsecurePath, ValueError) as error:
        exits.give_up(NAME, error, exits.CONFIGURATION)


def _join(config: KubeletConfig, directory: Path, machine: Machine) -> None:
    """Join the cluster, and begin anew: what only joining needs takes 10 MiB of memory.

    A master that is away is waited for; what it refuses, a person must mend.
    """
    from node.session import join

    notifier, failures = Notifier.of(), 0

    def wait(seconds: float = POLL_SECONDS) -> None:
        notifier.alive()
        time.sleep(seconds)

    who = join.Machine(machine.name, machine.machine_id)
    while True:
        try:
            join.join(directory, config.master, config.token_file, who, wait)
            break
        except join.NotNow as error:
            failures += 1
            seconds = JOIN_RETRY.delay_seconds(failures)
            log.warning("cannot join yet", extra={"error": str(error), "again_in_s": seconds})
            notifier.ready(f"waiting for {config.master}, to join")
            wait(seconds)
        except join.JoinFailed as error:
            exits.give_up(NAME, error, exits.CONFIGURATION)
    again = [sys.executable, *sys.orig_argv[1:]]
    os.execv(sys.executable, again)  # noqa: S606 (the same program, no shell)


def make_machine(config: KubeletConfig) -> Machine:
    """What is true of this machine; raises ValueError for a wrong --capacity."""
    cpus, memory_bytes, disk_bytes = usage.host_capacity()
    return Machine(
        name=config.node_name,
        address=config.node_ip,
        capacity=capacity(cpus, memory_bytes, disk_bytes, config.capacity),
        machine_id=_read("/etc/machine-id") or _own_machine_id(Path(config.data_dir)),
        boot_id=usage.boot_id(),
        os_image=platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        version=metadata.version("wherry"),
    )


def _own_machine_id(directory: Path) -> str:
    """An id for a machine whose system has none, made once; the master knows it again by that."""
    file = directory / "machine-id"
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        write_private(file, SystemRng().uuid().replace("-", "").encode())
    return file.read_text("ascii")


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(errors="replace").strip() if file.exists() else ""


def _node_files() -> NodeFiles:
    """As they are now: they change while a kubelet runs."""
    resolver = resolver_for_pods(_read("/etc/resolv.conf"), _read(RESOLVED_CONF))
    return NodeFiles(_read("/etc/hosts") + "\n", resolver + "\n")


async def run(
    config: KubeletConfig, machine: Machine, own: Credentials, notifier: Notifier
) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    levels.follow_signals()
    node = Node(config, machine, own)
    ready = partial(notifier.ready, f"node {machine.name} of {config.master}")
    running = asyncio.create_task(node.run(ready), name="node")
    living = asyncio.create_task(notifier.keep_alive(SystemClock()), name="watchdog")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await _failed(running)
    notifier.stopping()
    if stop.is_set() and await is_going_down():
        log.info("the machine goes down: pods are stopped")
        await node.halt(SHUTDOWN_SECONDS)
    running.cancel()
    living.cancel()
    await asyncio.gather(running, living, return_exceptions=True)


async def _failed(running: asyncio.Task[None]) -> None:
    """Raise what has ended a node: AddressChanged itself, or a group of errors."""
    try:
        await running
    except* AddressChanged as group:
        raise group.exceptions[0] from None


class _Named(msgspec.Struct):
    """What must be readable of a pod to name it."""

    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


class Node:
    """Wires the kubelet, its tools and the stream to the master."""

    def __init__(self, config: KubeletConfig, machine: Machine, own: Credentials) -> None:
        self._machine, self._master = machine, config.master
        self._clock = SystemClock()
        self._offload = Offload(threads=6, name="kubelet")
        data, run_dir = Path(config.data_dir), Path(config.run_dir)
        host = urlsplit(config.master).hostname
        self._held, self._pki = Held(own), data / PKI
        address = f"{host}:{config.node_port or own.node_port}"
        self._stream = ControlStream(address, self._held, clock=self._clock, rng=SystemRng())
        self._renewal = Renewal(
            self._pki,
            self._held,
            config.token_file,
            by_process(self._pki, config.master, machine.name, machine.machine_id),
            lambda: self._stream.connected,
            clock=self._clock,
            rng=SystemRng(),
        )
        self._cidr_file = data / "pod-cidr"
        self._pod_cidr = _read(str(self._cidr_file))
        self._writer = DiskWriter(self._offload)
        self._assigned = AssignedStore(
            data / "kubelet" / "assigned", run_dir / "secrets", run_dir / "kubelet-synced"
        )
        self._tools = self._make_tools(config, data, run_dir)
        self._kubelet = Kubelet(self._tools, machine, self._stream, usage.Stats(config.data_dir))
        self._tools.used_addresses = self._kubelet.addresses
        self._network = NetworkKeeper(
            PodNetwork(config.node_ip, self._offload),
            data / "network.json",
            clock=self._clock,
            writer=self._writer,
        )
        log_server = LogServer(self._kubelet, self._clock, self._offload)
        self._sessions = Sessions(log_server.logs)

    def _make_tools(self, config: KubeletConfig, data: Path, run_dir: Path) -> Tools:
        selinux = SELINUX.exists()
        return Tools(
            runtime=PodmanRuntime(config.podman_socket, self._offload),
            sandbox=NamespaceSandbox(run_dir / "sandboxes", self._offload),
            volumes=Volumes(data / "pods"),
            tokens=Tokens(partial(ask, self._stream), clock=self._clock, rng=SystemRng()),
            pool=AddressPool(self._pod_cidr or "10.42.255.0/24"),
            used_addresses=set,
            host=HostFacts.of(config.node_ip, self._machine.capacity, selinux=selinux),
            node_files=_node_files,
            pods_dir=data / "pods",
            log_root=config.log_dir,
            record=self._record,
            processes=PidfdProcesses(),
            offload=self._offload,
            clock=self._clock,
            checks=NetworkChecks(),
            rng=SystemRng(),
        )

    async def run(self, ready: Callable[[], None]) -> None:
        """Take up what was assigned before, unless the machine has booted; serve the master.

        `ready` is called when pods are looked after, with a master or without.
        """
        await self._kubelet.relist()
        for assignment in await self._offload(lambda: list(self._assigned.load())):
            self._kubelet.assign(assignment)
        self._network.start(self._pod_cidr)
        gc.freeze()
        handlers = Handlers(
            hello=self._hello,
            welcome=self._welcome,
            network=self._network_changed,
            assign=self._assign,
            removed=self._removed,
            synced=self._synced,
            open_session=self._sessions.open,
            trust=self._trust,
            refused=self._renewal.refused,
        )
        ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._writer.run())
            group.create_task(self._network.run())
            group.create_task(self._kubelet.run())
            group.create_task(self._stream.run(handlers))
            group.create_task(self._renewal.run())
            group.create_task(addresses.follow(lambda: [self._address()], self._clock))

    def _address(self) -> str:
        """By which this machine is reached now."""

        def leads_to_master() -> str:
            try:
                return configuration.own_address(self._master)
            except configuration.NoRoute:
                return ""

        return addresses.effective(self._machine.address, leads_to_master)

    async def halt(self, seconds: float) -> None:
        """Stop all pods politely, within so many seconds."""
        await self._kubelet.halt(seconds)

    async def _hello(self) -> node_v1_pb2.Hello:
        return node_v1_pb2.Hello(
            node_name=self._machine.name,
            boot_id=self._machine.boot_id,
            machine_id=self._machine.machine_id,
            version=self._machine.version,
            node=await self._kubelet.registration(self._pod_cidr),
            trusts=digest(self._held.current.ca),
        )

    def _welcome(self, welcome: node_v1_pb2.Welcome) -> None:
        """The pod CIDR never changes for a node; keep it for starts without a master."""
        cidr = welcome.pod_cidr
        if cidr == self._pod_cidr:
            return
        try:
            self._tools.pool = AddressPool(cidr)
        except ValueError as error:  # it is not IPv4: somebody has made the Node by hand
            log.error("no addresses for pods", extra={"object": cidr, "error": str(error)})
            return
        self._pod_cidr = cidr
        self._writer.put(
            str(self._cidr_file), partial(write_private, self._cidr_file, cidr.encode())
        )

    def _trust(self, told: node_v1_pb2.Trust) -> None:
        """Whom this node trusts, and whether its certificate is of another authority."""
        try:
            credentials.trust(self._pki, self._held, told.authorities)
        except (OSError, ValueError) as error:
            log.error("the master's authorities cannot be kept", extra={"error": str(error)})
        if told.renew:
            self._renewal.wanted()

    def _network_changed(self, told: node_v1_pb2.Network) -> None:
        peers = tuple(Peer(peer.pod_cidr, peer.address) for peer in told.peers)
        network = Network(told.cluster_cidr, told.service_cidr, peers)
        self._network.update(network, self._pod_cidr)

    def _assign(self, assignment: node_v1_pb2.PodAssignment) -> str:
        """Take an assignment; answers the pod's UID.

        A pod that cannot be read is left as it is: what runs of it runs on, and people are told.
        """
        try:
            uid = codec.decode(assignment.pod, Pod).metadata.uid
        except msgspec.DecodeError as error:
            return self._tell_unreadable(assignment.pod, str(error))
        if not POD_UID.fullmatch(uid):
            return self._tell_unreadable(assignment.pod, f"no UID: {uid!r}")
        self._writer.put(uid, partial(self._assigned.save, uid, assignment))
        self._kubelet.assign(assignment)
        return uid

    def _tell_unreadable(self, data: bytes, error: str) -> str:
        """Name a pod that this kubelet cannot read; answers its UID, or nothing."""
        try:
            meta = codec.decode(data, _Named).metadata
        except msgspec.DecodeError:
            meta = ObjectMeta()
        where = f"{meta.namespace}/{meta.name}"
        log.error("a pod cannot be read", extra={"object": where, "error": error})
        if meta.name:
            text = f"error syncing pod: it cannot be read: {error}"
            self._record(Pod(metadata=meta), "", "Warning", "FailedSync", text)
        return meta.uid

    def _synced(self, uids: set[str]) -> None:
        self._kubelet.synced(uids)
        self._writer.put("what is assigned", partial(self._assigned.synced, frozenset(uids)))

    def _removed(self, uid: str) -> None:
        self._writer.put(uid, partial(self._assigned.remove, uid))
        self._kubelet.removed(uid)

    def _record(self, pod: Pod, container: str, kind: str, reason: str, message: str) -> None:
        """Send an Event about a pod, or about one of its containers."""
        field = f"spec.containers{{{container}}}" if container else ""
        about = ObjectReference(
            apiVersion="v1",
            kind="Pod",
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            uid=pod.metadata.uid,
            fieldPath=field,
        )
        self._stream.event(
            node_v1_pb2.EventReport(
                involved_object=codec.encode(about),
                type=kind,
                reason=reason,
                message=message[:MESSAGE_MAX],
            )
        )


if __name__ == "__main__":
    main()
