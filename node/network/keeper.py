"""Keeps the pod network as the master last told it, through restarts and without the master."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from common.runtime.backoff import Backoff
from common.runtime.clock import Clock, sleep_or_event
from common.security.files import write_private
from node.network.routes import Network, Peer, peer_problem
from node.runtime.base import SandboxFailed
from node.session.writer import DiskWriter

log = logging.getLogger(__name__)
REPAIR_SECONDS = 20.0
RETRY = Backoff(initial_seconds=2.0, cap_seconds=REPAIR_SECONDS)


class Routes(Protocol):
    """Makes the kernel's routes and rules."""

    @property
    def node_ip(self) -> str:
        """The address of this node."""
        ...

    async def apply(self, network: Network, pod_cidr: str) -> None:
        """Make the kernel as `network` wants it. Raises SandboxFailed with all that was refused."""
        ...


class NetworkKeeper:
    """Applies what was told, and looks after it: an admin may have flushed routes or rules."""

    def __init__(self, routes: Routes, file: Path, *, clock: Clock, writer: DiskWriter) -> None:
        self._routes = routes
        self._file = file
        self._writer = writer
        self._clock = clock
        self._changed = asyncio.Event()
        self._told = (_load(file), "")
        self._refused: dict[Peer, str] = {}

    def update(self, network: Network, pod_cidr: str) -> None:
        """The master has told of the network; kept on disk for starts without a master."""
        if self._told != (network, pod_cidr):
            self._told = (network, pod_cidr)
            data = msgspec.json.encode(network)
            self._writer.put(str(self._file), partial(write_private, self._file, data))
            self._changed.set()
            self._log_refused(network, pod_cidr)

    def start(self, pod_cidr: str) -> None:
        """Begin with what is known from before."""
        self._told = (self._told[0], pod_cidr)
        self._changed.set()

    async def run(self) -> None:
        """Apply and repair until cancelled; what is refused is logged when it is something new."""
        failures, said = 0, ""
        while True:
            self._changed.clear()
            network, pod_cidr = self._told
            seconds = REPAIR_SECONDS
            if pod_cidr and network.cluster_cidr:
                try:
                    await self._routes.apply(network, pod_cidr)
                    failures, said = 0, ""
                except (SandboxFailed, ValueError) as error:
                    if str(error) != said:
                        log.error("the pod network is not complete", extra={"error": str(error)})
                    failures, said = failures + 1, str(error)
                    seconds = RETRY.delay_seconds(failures)
            await sleep_or_event(self._clock, seconds, self._changed)

    def _log_refused(self, network: Network, pod_cidr: str) -> None:
        """Say once of each peer why it has no route."""
        node_ip = self._routes.node_ip
        refused = {
            peer: problem
            for peer in network.peers
            if (problem := peer_problem(peer, network, node_ip, pod_cidr))
        }
        for peer, problem in refused.items():
            if self._refused.get(peer) != problem:
                addresses = f"{peer.pod_cidr!r} at {peer.address!r}"
                log.warning("no route to a node's pods: %s", problem, extra={"object": addresses})
        self._refused = refused


def _load(file: Path) -> Network:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Network)
    except (OSError, msgspec.DecodeError):
        return Network()
