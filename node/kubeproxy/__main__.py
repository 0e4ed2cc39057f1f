"""wherry-kube-proxy: flags, the node's certificate, and then the proxy until a signal.

It makes no certificate: the kubelet joins the node, and this process waits for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
import psutil
import uvloop

from common.etcd.client import EtcdClient
from common.runtime import process
from common.runtime.clock import Clock, SystemClock
from common.runtime.config import ConfigError
from common.runtime.offload import Offload
from common.runtime.rng import SystemRng
from common.systemd import exits, journal, levels
from common.systemd.notify import Notifier
from node import addresses
from node.addresses import AddressChanged
from node.kubeproxy import config as configuration
from node.kubeproxy.config import KubeProxyConfig
from node.kubeproxy.credentials import PKI, Follower, tls
from node.kubeproxy.dataplane.nftables import NftablesDataplane
from node.kubeproxy.proxy import Proxy
from node.kubeproxy.report import serving
from node.kubeproxy.table import NodeFacts, Table
from node.session import credentials
from node.session.credentials import Credentials

log = logging.getLogger("kubeproxy")
NAME = "wherry-kube-proxy"
POLL_SECONDS = 0.5
T = TypeVar("T")


def main() -> None:
    """Entry point of the console script."""
    process.set_title(NAME)
    try:
        config = configuration.parse(sys.argv[1:])
        journal.configure(NAME, encoding=config.log_format)
        notifier = Notifier.take()
        own = wait_for_certificate(Path(config.data_dir) / PKI, notifier)
        config = wait_for_ranges(config, notifier)
        uvloop.run(run(config, own, notifier))
    except AddressChanged as error:
        exits.give_up(NAME, error)
    except (ConfigError, ValueError) as error:
        exits.give_up(NAME, error, exits.CONFIGURATION)


def wait_for_certificate(directory: Path, notifier: Notifier) -> Credentials:
    """The node's credentials, once the kubelet has joined."""

    def load() -> Credentials | None:
        return credentials.load(directory)

    return _wait_for(load, "waiting for the kubelet to join", notifier)


class _Ranges(msgspec.Struct):
    """What is read of the network that the master has told the kubelet of."""

    cluster_cidr: str = ""
    service_cidr: str = ""


def wait_for_ranges(config: KubeProxyConfig, notifier: Notifier) -> KubeProxyConfig:
    """The configuration with the addresses of pods and services, once the kubelet knows them."""
    file = Path(config.data_dir) / "network.json"

    def load() -> KubeProxyConfig | None:
        ranges = _Ranges()
        with contextlib.suppress(OSError, msgspec.DecodeError):
            ranges = msgspec.json.decode(file.read_bytes(), type=_Ranges)
        cluster = config.cluster_cidr or ranges.cluster_cidr
        services = config.service_cidr or ranges.service_cidr
        known = bool(cluster and services)
        made = msgspec.structs.replace(config, cluster_cidr=cluster, service_cidr=services)
        return made if known else None

    return _wait_for(load, "waiting for the kubelet to hear of the master", notifier)


def _wait_for(load: Callable[[], T | None], what: str, notifier: Notifier) -> T:
    """What `load` answers when it does; systemd is told that it is being waited for."""
    told = False
    while (loaded := load()) is None:
        if not told:
            log.info(what)
            notifier.ready(what)
            told = True
        notifier.alive()
        time.sleep(POLL_SECONDS)
    return loaded


def node_facts(config: KubeProxyConfig) -> NodeFacts:
    """What is true of this node; all of its addresses count as its own."""
    cidrs = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family.name == "AF_INET" and not address.address.startswith("127.")
    }
    given = {config.node_ip} if config.node_ip else set()
    return NodeFacts(
        name=config.node_name,
        addresses=tuple(sorted(cidrs | given)),
        cluster_cidr=config.cluster_cidr,
        service_cidr=config.service_cidr,
    )


async def run(config: KubeProxyConfig, own: Credentials, notifier: Notifier) -> None:
    """Run until SIGTERM or SIGINT; the rules stay in the kernel."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    levels.follow_signals()
    host = urlsplit(config.master).hostname
    clock, rng = SystemClock(), SystemRng()
    target = f"{host}:{config.node_port or own.node_port}"
    client = EtcdClient([target], tls(own), clock=clock, rng=rng)
    keeping = Follower(Path(config.data_dir) / PKI, own, client, clock)
    table = Table(node_facts(config))
    dataplane = NftablesDataplane(table.node, Offload(threads=1, name="nftables"))
    proxy = Proxy(client, table, dataplane, clock=clock, rng=rng)
    gc.freeze()
    async with serving(f"{config.run_dir}/kube-proxy.sock", table):
        running = asyncio.create_task(_run_until_moved(proxy, clock), name="proxy")
        renewing = asyncio.create_task(keeping.run(), name="credentials")
        living = asyncio.create_task(notifier.keep_alive(clock), name="watchdog")
        notifier.ready(f"node {config.node_name}, services of {config.master}")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        notifier.stopping()
        running.cancel()
        renewing.cancel()
        living.cancel()
        await asyncio.gather(running, renewing, living, return_exceptions=True)
    await client.close()


async def _run_until_moved(proxy: Proxy, clock: Clock) -> None:
    """Run; raises AddressChanged when the machine has other addresses, for node ports and rules."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(proxy.run())
            group.create_task(addresses.follow(addresses.reachable, clock))
    except* AddressChanged as found:
        raise found.exceptions[0] from None


if __name__ == "__main__":
    main()
