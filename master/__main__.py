"""wherry-master: flags, configuration, certificates, etcd, and then the master until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from functools import partial
from pathlib import Path

import grpc.aio
import uvloop

from common.runtime import memory, process
from common.runtime.clock import Clock, SystemClock
from common.runtime.config import ConfigError
from common.runtime.parts import Part, PartFailed, Parts
from common.runtime.rng import Rng, SystemRng
from common.security.ca import CertificateError
from common.security.files import InsecurePath
from common.security.keyring import KeyringError
from common.systemd import exits, journal, levels
from common.systemd.notify import Notifier
from master import config as configuration
from master.apiserver.rest import server as rest
from master.apiserver.rpc import server as rpc
from master.apiserver.rpc.calllimits import CallLimiter
from master.apiserver.rpc.tools import ToolHandlers
from master.bootstrap import bootstrap
from master.config import MasterConfig
from master.pki.pki import Pki
from master.pki.renewal import Renewable
from master.storage.embedded import EmbeddedEtcd, EmbeddedEtcdError
from master.storage.external import ExternalEtcd, ExternalEtcdError
from master.storage.health import EtcdHealth
from master.storage.marker import ForeignData
from master.storage.sealed import SealedStore, Unreadable
from master.storage.upkeep import Upkeep
from master.storage.watchcache import WatchCache
from master.wiring.build import Master, build
from protos.cluster_v1_pb2_grpc import add_ClusterServicer_to_server
from protos.node_v1_pb2_grpc import add_NodeServiceServicer_to_server

log = logging.getLogger("master")
NAME = "wherry-master"
START_TIMEOUT_SECONDS = 60.0
UNFIT = (InsecurePath, KeyringError, Unreadable, ForeignData)
"""What somebody must mend before the master can run."""
FATAL = (EmbeddedEtcdError, ExternalEtcdError, CertificateError, PartFailed, OSError)
"""What else ends the master with one line instead of a traceback."""
SHUTDOWN_DELAY_SECONDS = 0.5
"""For so long a master that stops says so and serves on (kube-apiserver's
--shutdown-delay-duration): whoever asks /readyz first goes elsewhere, or waits."""
SWITCH_SECONDS = 0.0005
"""How long the event loop waits for its turn while a thread works on a large body: a tenth of
Python's default, because one request is several turns."""


def main() -> None:
    """Entry point of the console script."""
    process.set_title(NAME)
    try:
        config = configuration.parse(sys.argv[1:])
    except ConfigError as error:
        exits.give_up(NAME, error, exits.CONFIGURATION)
    except configuration.NoAddress as error:
        exits.give_up(NAME, error)
    memory.prepare()
    sys.setswitchinterval(SWITCH_SECONDS)
    journal.configure(NAME, encoding=config.log_format)
    try:
        uvloop.run(run(config, Notifier.take()))
    except UNFIT as error:
        exits.give_up(NAME, error, exits.CONFIGURATION)
    except FATAL as error:
        exits.give_up(NAME, error)


async def run(config: MasterConfig, notifier: Notifier) -> None:
    """Run a master until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    levels.follow_signals()
    clock, rng = SystemClock(), SystemRng()
    pki = Pki(config, clock)
    etcd = _etcd(config, clock, rng)
    await etcd.start()
    client = etcd.client()
    try:
        store = SealedStore(etcd.store(client), pki.secret_keys(rng))
        if count := await store.seal_everything():
            log.info("Secrets were sealed with the current key", extra={"count": count})
        cache = WatchCache(store, clock)
        health = EtcdHealth(client, etcd.marker_key, clock, etcd.possible_cause)
        maintenance = etcd.maintenance()
        upkeep = Upkeep(client, maintenance, etcd.is_alone, clock)
        following = Parts(
            [
                Part("watch cache", cache.run, essential=True),
                Part("etcd's health", health.run),
                Part("etcd's upkeep", upkeep.run),
            ],
            clock,
        ).run()
        running = asyncio.create_task(following)
        await cache.wait_for(1, START_TIMEOUT_SECONDS)
        renewed = [Renewable("etcd", etcd.is_due, partial(etcd.renew, client, maintenance))]
        master = build(
            config,
            pki,
            store,
            cache,
            health,
            stopping=stop,
            clock=clock,
            rng=rng,
            renewed=renewed,
        )
        await bootstrap(master.registry.pipeline)
        gc.freeze()  # a collection need not look at what stays until the end
        await serve(config, pki, master, stop, running, notifier)
        running.cancel()
    finally:
        await client.close()
        await etcd.stop()


def _etcd(config: MasterConfig, clock: Clock, rng: Rng) -> EmbeddedEtcd | ExternalEtcd:
    """The master's own, or its user's."""
    directory = Path(config.data_dir) / "etcd"
    if config.etcd_endpoints:
        return ExternalEtcd(config.etcd, directory, clock=clock, rng=rng)
    return EmbeddedEtcd(
        directory,
        clock=clock,
        rng=rng,
        client_port=config.etcd_client_port,
        peer_port=config.etcd_peer_port,
        certificate_lifetime=config.lifetime,
    )


async def serve(
    config: MasterConfig,
    pki: Pki,
    master: Master,
    stop: asyncio.Event,
    following: asyncio.Task[None],
    notifier: Notifier,
) -> None:
    """Listen, and run the master's parts, until `stop` is set or what is essential fails.

    With `stop` /readyz begins to say no. What comes in is still answered for a moment; then
    streams are ended, calls have a second or two to end, and others are cut off.
    """
    context = rest.tls_context(pki.tls_context())
    pki.watch(lambda: context.use(pki.tls_context()))
    running = asyncio.create_task(master.parts.run(), name="parts")
    stopping = asyncio.create_task(stop.wait())
    servers = await _serve_rpc(config, pki, master, stop)
    runner = await rest.serve(
        master.rest,
        context,
        config.bind_address,
        config.secure_port,
        descriptors=process.raise_descriptor_limit(),
    )
    address = f"{config.advertise_address}:{config.secure_port}"
    log.info("serving", extra={"address": address})
    notifier.ready(f"serving https://{address}")
    living = asyncio.create_task(notifier.keep_alive(SystemClock()), name="watchdog")
    try:
        await asyncio.wait({running, stopping, following}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, following):
            if task.done():
                await task
    finally:
        notifier.stopping()
        if stop.is_set():
            await asyncio.sleep(SHUTDOWN_DELAY_SECONDS)
        for each in (running, stopping, living):
            each.cancel()
        with contextlib.suppress(asyncio.CancelledError, PartFailed):
            await running
        master.end_streams()
        await asyncio.gather(*(server.stop(grace=1.0) for server in servers))
        await runner.cleanup()


async def _serve_rpc(
    config: MasterConfig, pki: Pki, master: Master, stopping: asyncio.Event
) -> list[grpc.aio.Server]:
    """The gRPC listeners: client certificates on one port, tokens on the other."""
    tools = ToolHandlers(master.access, stopping)
    scripts = partial(add_ClusterServicer_to_server, master.scripts)
    nodes = partial(add_NodeServiceServicer_to_server, master.nodes)

    def certificates() -> rpc.Certificates:
        serving = pki.serving
        return rpc.Certificates(serving.certificate_pem, serving.key_pem, pki.client_ca.trusted)

    with_certificates = rpc.Listener(
        f"{config.bind_address}:{config.node_port}",
        certificates,
        client_certificates=True,
        connections_max=rpc.NODE_CONNECTIONS_MAX,
    )
    with_tokens = rpc.Listener(f"{config.bind_address}:{config.script_port}", certificates)
    limits = CallLimiter(master.access.account)
    return [
        await rpc.serve(with_certificates, [nodes, scripts], [master.gateway, tools], limits),
        await rpc.serve(with_tokens, [scripts], [tools], limits),
    ]


if __name__ == "__main__":
    main()
