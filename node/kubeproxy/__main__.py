"""wherry-kube-proxy: flags, the node's certificate, and then the proxy until a signal.

It makes no certificate: the kubelet joins the node, and this process waits for that.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import uvloop

from common.etcd.client import EtcdClient
from common.etcd.types import Tls
from common.runtime import process
from common.runtime.clock import SystemClock
from common.runtime.config import ConfigError
from common.runtime.offload import Offload
from common.runtime.rng import SystemRng
from common.systemd import exits, journal
from common.systemd.notify import Notifier
from node.kubeproxy import config as configuration
from node.kubeproxy.config import KubeProxyConfig
from node.kubeproxy.dataplane.nftables import NftablesDataplane
from node.kubeproxy.proxy import Proxy
from node.kubeproxy.report import serving
from node.kubeproxy.table import NodeFacts, Table
from node.session import credentials
from node.session.credentials import Credentials

log = logging.getLogger("kubeproxy")
NAME = "wherry-kube-proxy"
POLL_SECONDS = 0.5
SERVER_NAME = "wherry-master"


def main() -> None:
    """Entry point of the console script."""
    process.set_title(NAME)
    try:
        config = configuration.parse(sys.argv[1:])
        journal.configure(NAME, encoding=config.log_format)
        notifier = Notifier.take()
        own = wait_for_certificate(Path(config.data_dir) / "node-pki", notifier)
        uvloop.run(run(config, own, notifier))
    except (ConfigError, ValueError) as error:
        exits.give_up(NAME, error, exits.CONFIGURATION)


def wait_for_certificate(directory: Path, notifier: Notifier) -> Credentials:
    """The node's credentials, once the kubelet has joined."""
    told = False
    while (found := credentials.load(directory)) is None:
        if not told:
            log.info("waiting for the kubelet to join", extra={"directory": str(directory)})
            notifier.ready("waiting for the kubelet to join")
            told = True
        notifier.alive()
        time.sleep(POLL_SECONDS)
    return found


def node_facts(config: KubeProxyConfig) -> NodeFacts:
    """What is true of this node; all of its addresses count as its own."""
    found = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family.name == "AF_INET" and not address.address.startswith("127.")
    }
    given = {config.node_ip} if config.node_ip else set()
    return NodeFacts(
        name=config.node_name,
        addresses=tuple(sorted(found | given)),
        cluster_cidr=config.cluster_cidr,
        service_cidr=config.service_cidr,
    )


async def run(config: KubeProxyConfig, own: Credentials, notifier: Notifier) -> None:
    """Run until SIGTERM or SIGINT; the rules stay in the kernel."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host = urlsplit(config.master).hostname
    clock = SystemClock()
    tls = Tls(own.ca, own.certificate, own.key, SERVER_NAME)
    client = EtcdClient([f"{host}:{config.node_port}"], tls, clock=clock, rng=SystemRng())
    table = Table(node_facts(config))
    dataplane = NftablesDataplane(table.node, Offload(threads=1, name="nftables"))
    proxy = Proxy(client, table, dataplane, clock=clock)
    gc.freeze()
    async with serving(f"{config.run_dir}/kube-proxy.sock", table):
        running = asyncio.create_task(proxy.run(), name="proxy")
        living = asyncio.create_task(notifier.keep_alive(clock), name="watchdog")
        notifier.ready(f"node {config.node_name}, services of {config.master}")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        notifier.stopping()
        running.cancel()
        living.cancel()
        await asyncio.gather(running, living, return_exceptions=True)
    await client.close()


if __name__ == "__main__":
    main()
