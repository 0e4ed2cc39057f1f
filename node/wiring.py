"""What gets what: puts a node together, from the machine's own parts or from those of a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from common.api.codec import json as codec
from common.api.types.core_v1 import ObjectReference, Pod
from common.runtime.clock import Clock, SystemClock
from common.runtime.offload import Offload
from common.runtime.rng import Rng, SystemRng
from node import addresses
from node import config as configuration
from node.config import KubeletConfig
from node.kubelet.effects.executor import Tools
from node.kubelet.effects.processes import PidfdProcesses, Processes
from node.kubelet.kubelet import Kubelet
from node.kubelet.machine.node_status import Machine
from node.kubelet.machine.stats import Stats
from node.kubelet.pod.memory import MESSAGE_MAX
from node.kubelet.sessions.image_loads import ImageLoads
from node.kubelet.sessions.log_server import LogServer
from node.kubelet.sessions.port_forwards import PortForwards
from node.kubelet.sessions.remote_commands import RemoteCommands
from node.kubelet.spec.env import HostFacts
from node.kubelet.spec.sandboxes import NodeFiles, resolver_for_pods
from node.kubelet.volumes.tokens import Tokens
from node.kubelet.volumes.volumes import Volumes
from node.network.ipam import AddressPool
from node.network.keeper import NetworkKeeper, Routes
from node.network.routes import PodNetwork
from node.network.sandbox import NamespaceSandbox
from node.node import Node
from node.probes.base import Checks
from node.probes.network import NetworkChecks
from node.runtime.base import Runtime, Sandbox
from node.runtime.podman import PodmanRuntime
from node.session.assigned import AssignedStore
from node.session.control import ControlStream
from node.session.credentials import Credentials, Held
from node.session.renewal import Renewal, by_process
from node.session.sessions import Server, Sessions
from node.session.tokens import ask
from node.session.writer import DiskWriter
from protos import node_v1_pb2

PKI = "node-pki"
"""The directory of the node's certificate, below the data directory."""
NO_CIDR = "10.42.255.0/24"
"""Of the addresses of pods that are here before a master has told the node its block."""
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"
"""The servers that systemd-resolved asks itself."""
SELINUX = Path("/sys/fs/selinux/enforce")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a node acts on: the machine's own, or fakes of it."""

    runtime: Runtime
    sandbox: Sandbox
    routes: Routes
    processes: Processes
    checks: Checks
    node_files: Callable[[], NodeFiles]
    address: Callable[[], str]
    """By which this machine is reached now."""
    offload: Offload
    clock: Clock
    rng: Rng


def real_world(config: KubeletConfig) -> World:
    """This machine, with Podman."""
    offload = Offload(threads=6, name="kubelet")
    sandbox = NamespaceSandbox(Path(config.run_dir) / "sandboxes", offload)
    return World(
        runtime=PodmanRuntime(config.podman_socket, offload),
        sandbox=sandbox,
        routes=PodNetwork(config.node_ip, offload, sandbox.repair),
        processes=PidfdProcesses(),
        checks=NetworkChecks(),
        node_files=_node_files,
        address=partial(addresses.effective, config.node_ip, partial(_own_address, config.master)),
        offload=offload,
        clock=SystemClock(),
        rng=SystemRng(),
    )


def build(config: KubeletConfig, machine: Machine, own: Credentials, world: World) -> Node:
    """A node that has joined, with its certificate."""
    data, run_dir = Path(config.data_dir), Path(config.run_dir)
    clock, rng, offload = world.clock, world.rng, world.offload
    held, pki, cidr_file = Held(own), data / PKI, data / "pod-cidr"
    pod_cidr = read(cidr_file)
    host = urlsplit(config.master).hostname
    master = f"{host}:{config.node_port or own.node_port}"
    stream = ControlStream(master, held, clock=clock, rng=rng)
    tools = _tools(config, machine, world, stream, pod_cidr)
    kubelet = Kubelet(tools, machine, stream, Stats(config.data_dir))
    tools.used_addresses = kubelet.addresses
    writer = DiskWriter(offload)
    renewal = Renewal(
        pki,
        held,
        config.token_file,
        by_process(pki, config.master, machine.name, machine.machine_id),
        lambda: stream.connected,
        clock=clock,
        rng=rng,
    )
    return Node(
        machine=machine,
        kubelet=kubelet,
        tools=tools,
        network=NetworkKeeper(world.routes, data / "network.json", clock=clock, writer=writer),
        stream=stream,
        sessions=Sessions(_servers(kubelet, world, config.node_ip)),
        renewal=renewal,
        held=held,
        pki=pki,
        assigned=AssignedStore(
            data / "kubelet" / "assigned", run_dir / "secrets", run_dir / "kubelet-synced"
        ),
        writer=writer,
        cidr_file=cidr_file,
        pod_cidr=pod_cidr,
        address=world.address,
        offload=offload,
        clock=clock,
    )


def _tools(
    config: KubeletConfig, machine: Machine, world: World, stream: ControlStream, pod_cidr: str
) -> Tools:
    """What all pods' workers share."""
    pods_dir = Path(config.data_dir) / "pods"
    return Tools(
        runtime=world.runtime,
        sandbox=world.sandbox,
        volumes=Volumes(pods_dir),
        tokens=Tokens(partial(ask, stream), clock=world.clock, rng=world.rng),
        pool=AddressPool(pod_cidr or NO_CIDR),
        used_addresses=set,
        host=HostFacts.of(
            config.node_ip,
            machine.capacity,
            selinux=SELINUX.exists(),
            unsafe_sysctls=[one for one in config.allowed_unsafe_sysctls.split(",") if one],
        ),
        node_files=world.node_files,
        pods_dir=pods_dir,
        log_root=config.log_dir,
        record=partial(_record, stream),
        processes=world.processes,
        offload=world.offload,
        clock=world.clock,
        checks=world.checks,
        rng=world.rng,
    )


def _servers(kubelet: Kubelet, world: World, node_ip: str) -> Mapping[str, Server]:
    """What serves each kind of session, by its name in OpenSession."""
    commands = RemoteCommands(kubelet, world.runtime)
    return {
        "log": LogServer(kubelet, world.clock, world.offload).serve,
        "exec": commands.exec,
        "attach": commands.attach,
        "port_forward": PortForwards(kubelet, world.sandbox, node_ip=node_ip).serve,
        "load_image": ImageLoads(world.runtime).serve,
    }


def _record(
    stream: ControlStream, pod: Pod, container: str, kind: str, reason: str, message: str
) -> None:
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
    stream.event(
        node_v1_pb2.EventReport(
            involved_object=codec.encode(about),
            type=kind,
            reason=reason,
            message=message[:MESSAGE_MAX],
        )
    )


def _own_address(master: str) -> str:
    """The address of the interface that leads to the master; empty while none does."""
    try:
        return configuration.own_address(master)
    except configuration.NoRoute:
        return ""


def _node_files() -> NodeFiles:
    """As they are now: they change while a kubelet runs."""
    resolver = resolver_for_pods(read(Path("/etc/resolv.conf")), read(Path(RESOLVED_CONF)))
    return NodeFiles(read(Path("/etc/hosts")) + "\n", resolver + "\n")


def read(file: Path) -> str:
    """A file's text without the white space around it; empty when it is not there."""
    return file.read_text(errors="replace").strip() if file.exists() else ""
