"""Wall clocks that are set while a master or a node runs (A15, C15)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from common.api import times
from common.client.https import ConnectionFailed, HttpsClient, KubeConfig
from tests.component.kubelet.test_process import Kubelet
from tests.fakes.hostile import good_node
from tests.integration.machine import WAIT_SECONDS, Machine
from tests.integration.security.test_access import wherry
from tests.servers.master import RunningMaster
from tests.servers.wallclock import WallClock

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(240)]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = timedelta()
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
NODE = "/api/v1/nodes/n1"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
REQUEST = "/apis/certificates.k8s.io/v1/certificatesigningrequests/none"
EVENTS_MAX = 10
"""Far fewer than one for each jump and thing that there is."""


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[RunningMaster]:
    """Its certificates live for a year, so that a clock of the future ends only what is meant to
    end. Its etcd has the host's clock: Go asks the kernel itself."""
    made = RunningMaster(tmp_path)
    made.settings = tmp_path / "config.yaml"
    made.settings.write_text("certificate-lifetime: 365d\n")
    yield made
    made.stop()


class Cluster:
    """A master whose clock is set, a node with the right time, and what was given out before."""

    def __init__(self, master: RunningMaster, clock: WallClock, directory: Path) -> None:
        self.master = master
        self._clock = clock
        token = master.with_token().token
        self.admin = master.client(bearer=token)
        """By a token: a certificate of now would be one of the future for a clock of the past."""
        joiner = wherry(master, "token", "create", "--ttl", "2h").split("::")[1]
        self._joiner = master.client(bearer=joiner)
        file = directory / "short.kubeconfig"
        wherry(master, "kubeconfig", "create", "short", "--lifetime", "20d", "-o", str(file))
        self._short = KubeConfig(file).client()
        self.machine = Machine(master, directory)

    async def set_clock(self, ahead: timedelta) -> None:
        """Set the master's clock; far away from the right time, wait for the next heartbeat."""
        self._clock.set(ahead)
        if abs(ahead) > DAY:
            await self.machine.until(lambda: self._has_heard_at(datetime.now(UTC) + ahead))

    def _has_heard_at(self, moment: datetime) -> bool:
        heard = times.parse(self.admin.json("GET", LEASE)["spec"]["renewTime"])
        return abs(heard - moment) < timedelta(minutes=1)

    def write(self, name: str) -> datetime:
        """A write, and the time that the master gives it. The node is looked at, too."""
        change = {"metadata": {"annotations": {"example.com/looked-at": name}}}
        self.admin.json("PATCH", NODE, change)
        made = self.admin.json("POST", CONFIG_MAPS, {"metadata": {"name": name}})
        return times.parse(made["metadata"]["creationTimestamp"])

    def node(self) -> tuple[bool, list[Any]]:
        """Whether the node is Ready, and its taints."""
        found = self.admin.json("GET", NODE)
        ready = [c["status"] for c in found["status"]["conditions"] if c["type"] == "Ready"]
        return ready == ["True"], found["spec"].get("taints", [])

    def lets_in(self) -> dict[str, bool]:
        """Who of those with credentials that end is let in."""
        return {
            "join token": self._joiner.request("GET", REQUEST)[0] == 404,
            "certificate": accepts(self._short),
        }


def accepts(client: HttpsClient) -> bool:
    """Whether a certificate is taken, in the handshake and behind it."""
    try:
        return client.request("GET", NODE)[0] == 200
    except ConnectionFailed:
        return False


@pytest.fixture
async def cluster(
    master: RunningMaster, wall_clock: WallClock, tmp_path: Path
) -> AsyncIterator[Cluster]:
    master.environment_of_its_own = wall_clock.environment
    await asyncio.to_thread(master.start)
    made = await asyncio.to_thread(Cluster, master, wall_clock, tmp_path)
    running = asyncio.create_task(made.machine.run())
    await made.machine.until(lambda: good_node.is_ready(master, "n1"))
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def names_of(lines: bytes) -> list[str]:
    """The ConfigMaps that a watch has told of."""
    events = [json.loads(line) for line in lines.splitlines()]
    return [each["object"]["metadata"]["name"] for each in events if each["type"] == "ADDED"]


async def test_a_masters_clock_that_jumps_harms_nobody(cluster: Cluster) -> None:
    since = cluster.admin.json("GET", CONFIG_MAPS)["metadata"]["resourceVersion"]
    both, none = ({"join token": yes, "certificate": yes} for yes in (True, False))
    too_early = {"join token": True, "certificate": False}
    expected = {NOW: both, HOUR: both, -HOUR: too_early, 40 * DAY: none, -40 * DAY: too_early}
    with closing(cluster.master.connection(None)) as connection:
        headers = {"Authorization": f"Bearer {cluster.master.with_token().token}"}
        path = f"{CONFIG_MAPS}?watch=1&resourceVersion={since}"
        await asyncio.to_thread(connection.request, "GET", path, headers=headers)
        watch = await asyncio.to_thread(connection.getresponse)
        names = []
        for number, ahead in enumerate([*expected, NOW]):
            await cluster.set_clock(ahead)
            names.append(f"c{number}")
            made = await asyncio.to_thread(cluster.write, names[-1])
            assert abs(made - datetime.now(UTC) - ahead) < timedelta(minutes=1)
            assert await asyncio.to_thread(cluster.lets_in) == expected[ahead], ahead
            assert await asyncio.to_thread(cluster.node) == (True, []), ahead
            assert names_of(await asyncio.to_thread(watch.readline)) == names[-1:]
    assert cluster.machine.stream.connected
    events = cluster.admin.json("GET", "/api/v1/events")["items"]
    assert "NodeNotReady" not in {event["reason"] for event in events}
    assert sum(event["count"] for event in events) < EVENTS_MAX
    log = cluster.master.log.read_text()
    assert log.count("node connected") == 1
    assert "level=error" not in log


@pytest.mark.full
async def test_a_node_whose_clock_is_a_day_behind_is_told_and_joins_when_it_is_right(
    master: RunningMaster, wall_clock: WallClock, tmp_path: Path
) -> None:
    await asyncio.to_thread(master.start)
    token = tmp_path / "token"
    token.write_text(wherry(master, "token", "create"))
    wall_clock.set(-DAY)
    (tmp_path / "node").mkdir()
    node = Kubelet(tmp_path / "node")
    node.environment = wall_clock.environment
    try:
        await node.start("--master", master.url, "--token-file", str(token))
        advice = "its certificate is not valid yet: compare the clocks of this machine"
        assert advice in await node.said("cannot join yet")
        wall_clock.set(NOW)
        await node.said("joined")
        await node.said("message=connected")
        wall_clock.set(DAY)
        await heartbeat(master)
        await asyncio.to_thread(master.stop)
        wall_clock.set(-DAY)
        await asyncio.to_thread(master.start)
        assert advice in await node.said("not valid yet")
        wall_clock.set(NOW)
        await node.said("message=connected")
    finally:
        assert node.process is not None
        node.process.terminate()
        await node.ended()
        node.systemd.close()


async def heartbeat(master: RunningMaster) -> None:
    """Wait for the node's next one."""
    lease = LEASE.replace("n1", "node1")

    def heard() -> str:
        return str(master.admin().json("GET", lease)["spec"]["renewTime"])

    before = await asyncio.to_thread(heard)
    async with asyncio.timeout(WAIT_SECONDS):
        while await asyncio.to_thread(heard) == before:
            await asyncio.sleep(0.1)
