"""The node's process as it is wired, without a Podman: what it keeps of the master's words."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from common.api.codec import json as codec
from common.api.types.core_v1 import Node as ApiNode
from node.__main__ import Node, make_machine
from node.config import KubeletConfig
from node.session.credentials import Credentials
from protos import node_v1_pb2
from tests.component.kubelet.test_session import Master, ToNode
from tests.fakes.pods import UID, pod

WAIT_SECONDS = 10.0
GONE = "6a5e7c1e-0000-4000-8000-00000000dead"


def assignment(uid: str) -> node_v1_pb2.PodAssignment:
    """A pod with a Secret."""
    return node_v1_pb2.PodAssignment(
        pod=codec.encode(pod(metadata={"uid": uid})), secrets=[b'{"data":{}}']
    )


class Started:
    """A node that runs, and its disk."""

    def __init__(self, directory: Path, master: Master, address: str) -> None:
        host, port = address.split(":")
        self.data, self.run_dir = directory / "data", directory / "run"
        self.data.mkdir()
        config = KubeletConfig(
            master=f"https://{host}:6443",
            node_port=int(port),
            node_name="node1",
            node_ip="127.0.0.1",
            podman_socket=str(directory / "none.sock"),
            data_dir=str(self.data),
            run_dir=str(self.run_dir),
            log_dir=str(directory / "logs"),
        )
        pair = master.authority.issue_client("system:node:node1", organizations=["system:nodes"])
        own = Credentials(
            ca=master.authority.certificate_pem, certificate=pair.certificate_pem, key=pair.key_pem
        )
        self.node = Node(config, make_machine(config), own)
        self.running = asyncio.create_task(self.node.run(lambda: None))

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
    made = Started(tmp_path, master, await master.start())
    await made.until(lambda: master.all("heartbeat"))
    yield made
    made.running.cancel()
    await asyncio.gather(made.running, return_exceptions=True)
    gc.collect()


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
