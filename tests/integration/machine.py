"""What a kubelet has of certificates and streams, without pods."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.digest import digest
from node.session import credentials, join
from node.session.channels import Channels
from node.session.control import ControlStream, Handlers
from node.session.credentials import Held
from node.session.renewal import Renewal, by_process
from node.session.sessions import Sessions
from protos import node_v1_pb2
from tests.integration.security.test_access import wherry
from tests.servers.master import RunningMaster

WAIT_SECONDS = 30.0


class Machine:
    """Joins when it is made, and is a node for as long as `run` runs."""

    def __init__(self, master: RunningMaster, directory: Path) -> None:
        self.token = token = directory / "token"
        token.write_text(wherry(master, "token", "create"))
        self.directory = directory / "node-pki"
        who = join.Machine("n1", "m1")
        pause = threading.Event()
        join.join(self.directory, master.url, str(token), who, lambda: bool(pause.wait(0.1)))
        own = credentials.load(self.directory)
        assert own is not None
        self.held, clock, rng = Held(own), SystemClock(), SystemRng()
        address = f"127.0.0.1:{master.node_port}"
        self.stream = ControlStream(address, self.held, clock=clock, rng=rng)
        self.renewal = Renewal(
            self.directory,
            self.held,
            str(token),
            by_process(self.directory, master.url, "n1", "m1"),
            lambda: self.stream.connected,
            clock=clock,
            rng=rng,
        )
        self._sessions = Sessions({"log": self._log})
        self.over = asyncio.Event()
        """Followed logs end."""

    async def run(self) -> None:
        """Until cancelled."""
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        handlers = Handlers(
            hello=self._hello,
            welcome=nothing,
            assign=lambda _: "",
            network=nothing,
            removed=nothing,
            synced=nothing,
            open_session=self._sessions.open,
            trust=self._trust,
            refused=self.renewal.refused,
            trouble=nothing,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self.stream.run(handlers))
            group.create_task(self.renewal.run())

    async def _log(self, request: node_v1_pb2.LogRequest, channels: Channels) -> int:
        await channels.send(b"first\n")
        if request.follow:
            await self.over.wait()
        await channels.send(b"last\n")
        return 0

    async def _hello(self) -> node_v1_pb2.Hello:
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        status = {"conditions": [ready], "nodeInfo": {"machineID": "m1"}}
        node = {"metadata": {"name": "n1"}, "status": status}
        return node_v1_pb2.Hello(
            node_name="n1",
            machine_id="m1",
            boot_id="b1",
            node=json.dumps(node).encode(),
            trusts=digest(self.held.current.ca),
        )

    def _trust(self, told: node_v1_pb2.Trust) -> None:
        credentials.trust(self.directory, self.held, told.authorities)
        if told.renew:
            self.renewal.wanted()

    async def until(self, wanted: Callable[[], object]) -> None:
        """Wait for something."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not wanted():
                await asyncio.sleep(0.01)
