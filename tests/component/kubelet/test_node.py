"""The node's process as it is wired, on a fake machine: what it keeps of the master's words."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from common.api.codec import json as codec
from common.api.types.core_v1 import Node as ApiNode
from common.api.types.core_v1 import PodStatus
from common.runtime.clock import Clock, SystemClock
from common.runtime.offload import Offload
from node import wiring
from node.__main__ import make_machine
from node.addresses import LOOK_SECONDS, AddressChanged
from node.config import KubeletConfig
from node.runtime.base import ImageStatus
from node.runtime.fake import FakeRuntime
from node.session.credentials import Credentials
from node.wiring import World
from protos import node_v1_pb2
from tests.component.kubelet.test_session import Master, ToNode
from tests.fakes.checks import FakeChecks
from tests.fakes.clock import FakeClock
from tests.fakes.kubelet import NODE_FILES, FakeProcesses
from tests.fakes.pods import IMAGE, UID, pod
from tests.fakes.rng import SeededRng
from tests.fakes.sandbox import FakeRoutes, FakeSandbox

WAIT_SECONDS = 10.0
GONE = "6a5e7c1e-0000-4000-8000-00000000dead"


def assignment(uid: str) -> node_v1_pb2.PodAssignment:
    """A pod with a Secret."""
    return node_v1_pb2.PodAssignment(
        pod=codec.encode(pod(metadata={"uid": uid})), secrets=[b'{"data":{}}']
    )


class Started:
    """A node that runs, and its disk."""

    def __init__(self, directory: Path, master: Master, address: str, clock: Clock) -> None:
        host, port = address.split(":")
        self.data, self.run_dir = directory / "data", directory / "run"
        self.data.mkdir()
        config = KubeletConfig(
            master=f"https://{host}:6443",
            node_port=int(port),
            node_name="node1",
            node_ip="127.0.0.1",
            data_dir=str(self.data),
            run_dir=str(self.run_dir),
            log_dir=str(directory / "logs"),
        )
        pair = master.authority.issue_client("system:node:node1", organizations=["system:nodes"])
        own = Credentials(
            ca=master.authority.certificate_pem, certificate=pair.certificate_pem, key=pair.key_pem
        )
        self.addresses = ["127.0.0.1"]
        self.offload = Offload(threads=2)
        self.runtime = FakeRuntime(SystemClock())
        self.runtime.add_images(IMAGE)
        self.routes = FakeRoutes()
        world = World(
            runtime=self.runtime,
            sandbox=FakeSandbox(),
            routes=self.routes,
            processes=FakeProcesses(),
            checks=FakeChecks(clock),
            node_files=lambda: NODE_FILES,
            address=lambda: self.addresses[-1],
            offload=self.offload,
            clock=clock,
            rng=SeededRng(),
        )
        self.node = wiring.build(config, make_machine(config), own, world)
        self.said: list[str] = []
        self.running = asyncio.create_task(self.node.run(self.said.append))

    async def stop(self) -> None:
        """End it, whatever has become of it."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.offload.close()

    def kept(self) -> list[str]:
        """The pods on disk, and those whose Secrets are."""
        directories = (self.data / "kubelet" / "assigned", self.run_dir / "secrets")
        return [file.name for directory in directories for file in directory.iterdir()]

    async def until(self, wanted: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not wanted():
                assert not self.running.done(), self.running
                await asyncio.sleep(0.01)


@pytest.fixture
async def master() -> AsyncIterator[Master]:
    """A master that listens."""
    made = Master()
    yield made
    await made.stop()


@pytest.fixture
async def started(tmp_path: Path, master: Master) -> AsyncIterator[Started]:
    """A node that is connected."""
    made = Started(tmp_path, master, await master.start(), SystemClock())
    await made.until(lambda: master.all("heartbeat"))
    yield made
    await made.stop()
    gc.collect()


async def test_what_the_master_assigns_runs_and_is_reported(
    master: Master, started: Started
) -> None:
    peer = node_v1_pb2.Peer(pod_cidr="10.42.2.0/24", address="192.168.7.2")
    network = node_v1_pb2.Network(cluster_cidr="10.42.0.0/16", peers=[peer])
    await master.say.put(ToNode(welcome=node_v1_pb2.Welcome(pod_cidr="10.42.1.0/24")))
    await master.say.put(ToNode(network=network))
    await master.say.put(ToNode(pod=assignment(UID)))

    def statuses() -> list[PodStatus]:
        return [codec.decode(report.status, PodStatus) for report in master.all("pod")]

    await master.until(lambda: [one for one in statuses() if one.phase == "Running"])
    assert statuses()[-1].podIP == "10.42.1.2"
    assert started.routes.applied[-1] == ["10.42.1.0/24", "10.42.2.0/24"]
    assert [e.reason for e in master.all("event")][-3:] == ["Pulled", "Created", "Started"]


async def test_a_runtime_that_does_not_answer_keeps_no_node_from_its_master(
    master: Master, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: FakeRuntime) -> list[ImageStatus]:
        await asyncio.Event().wait()
        return []

    await master.until(lambda: master.all("node"))
    monkeypatch.setattr(FakeRuntime, "list_images", silent)
    await master.say.put(None)
    await master.until(lambda: len(master.all("hello")) == 2)
    hello = codec.decode(master.all("hello")[1].node, ApiNode)
    assert [image.names[0] for image in hello.status.images] == [IMAGE], "those seen last"


async def test_systemd_is_told_why_no_master_listens(master: Master, started: Started) -> None:
    await started.until(lambda: started.said == ["", ""])
    await master.stop()
    await started.until(lambda: len(started.said) > 2)
    assert started.said[2].startswith("the master cannot be reached: ")
    await master.start()
    await started.until(lambda: started.said[-1] == "")


async def test_an_address_that_changes_ends_the_node(tmp_path: Path, master: Master) -> None:
    """Its certificate and what others know of it are of the former one: systemd starts it anew."""
    clock = FakeClock()
    node = Started(tmp_path, master, "127.0.0.1:1", clock)
    async with asyncio.timeout(WAIT_SECONDS):
        while not node.runtime.calls or not clock.sleepers:
            await asyncio.sleep(0.01)
    node.addresses.append("127.0.0.2")
    async with asyncio.timeout(WAIT_SECONDS):
        while not node.running.done():
            await clock.advance(LOOK_SECONDS)
    with pytest.raises(ExceptionGroup) as caught:
        await node.running
    [error] = caught.value.exceptions
    assert isinstance(error, AddressChanged)
    assert str(error).endswith("have changed: 127.0.0.1, now 127.0.0.2")
    await node.stop()


async def test_what_the_master_has_not_told_is_not_kept(master: Master, started: Started) -> None:
    await master.say.put(ToNode(pod=assignment(UID)))
    await master.say.put(ToNode(pod=assignment(GONE)))
    await started.until(lambda: sorted(started.kept()) == sorted([UID, GONE] * 2))
    await master.say.put(None)  # while the node is away, a pod is deleted by force
    await master.until(lambda: master.streams == 2)
    await master.say.put(ToNode(pod=assignment(UID)))
    await master.say.put(ToNode(synced=node_v1_pb2.Synced()))
    await started.until(lambda: started.kept() == [UID, UID])
    await started.until((started.run_dir / "kubelet-synced").exists)


async def test_a_disk_that_refuses_ends_nothing(master: Master, started: Started) -> None:
    (started.data / "kubelet" / "assigned").rmdir()
    (started.data / "kubelet" / "assigned").touch()
    beats = len(master.all("heartbeat"))
    await master.say.put(ToNode(pod=assignment(UID)))
    await master.say.put(ToNode(removed=node_v1_pb2.PodRemoved(uid=UID)))
    await started.until(lambda: len(master.all("heartbeat")) > beats + 1)


async def test_the_block_of_addresses_is_kept_and_one_that_cannot_be_used_is_not(
    master: Master, started: Started
) -> None:
    file = started.data / "pod-cidr"
    for cidr in ("10.42.1.0/24", "fd00::/64", ""):
        await master.say.put(ToNode(welcome=node_v1_pb2.Welcome(pod_cidr=cidr)))
    await started.until(file.exists)
    await master.say.put(None)
    await master.until(lambda: len(master.all("hello")) == 2)
    hello = codec.decode(master.all("hello")[1].node, ApiNode)
    assert (file.read_text(), hello.spec.podCIDR) == ("10.42.1.0/24", "10.42.1.0/24")


async def test_a_pod_that_cannot_be_read_is_named_and_left_as_it_is(
    master: Master, started: Started
) -> None:
    """One whose fields are of a later API, say, or of a UID that is no directory's name."""
    await master.say.put(ToNode(pod=assignment(UID)))
    names = '"name": "web", "namespace": "default"'
    later = f'{{"metadata": {{{names}, "uid": "{UID}"}}, "spec": {{"containers": 5}}}}'
    outside = f'{{"metadata": {{{names}, "uid": "../../x"}}}}'
    for data in (later.encode(), outside.encode(), b"{", b"[]", b'"\xff"', b"[" * 100_000):
        await master.say.put(ToNode(pod=node_v1_pb2.PodAssignment(pod=data)))
    await master.say.put(ToNode(synced=node_v1_pb2.Synced()))
    await started.until(lambda: started.kept() == [UID, UID])
    await started.until((started.run_dir / "kubelet-synced").exists)
    await master.until(lambda: [e for e in master.all("event") if e.reason == "FailedSync"])
    told = [e.message for e in master.all("event") if e.reason == "FailedSync"]
    assert len(told) == 2
    assert "spec.containers" in told[0]
    assert master.streams == 1
    assert started.kept() == [UID, UID], "it is not taken for one that was removed"
