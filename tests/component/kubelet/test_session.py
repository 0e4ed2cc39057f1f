"""The node's end of the control stream against a master over mutual TLS: nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority, KeyPair
from master.apiserver.rpc.server import ANSWER_MAX_BYTES
from node.session import control
from node.session.control import RECEIVE_MAX_BYTES, ControlStream, Handlers
from node.session.credentials import Credentials, Held
from protos import node_v1_pb2, node_v1_pb2_grpc
from tests.fakes.clock import FakeClock
from tests.fakes.rng import SeededRng

WAIT_SECONDS = 10.0
ToNode = node_v1_pb2.ToNode


class Master(node_v1_pb2_grpc.NodeServiceServicer):
    """Welcomes nodes, notes what they say, and says what a test tells it to."""

    def __init__(self) -> None:
        self.authority = CertificateAuthority.create("test", SystemClock())
        self.heard: list[node_v1_pb2.FromNode] = []
        self.streams = 0
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.welcomes = True
        self.say: asyncio.Queue[ToNode | None] = asyncio.Queue()
        self._port = 0
        self._server: grpc.aio.Server | None = None

    async def Control(self, request_iterator: Any, context: Any) -> AsyncIterator[ToNode]:
        """One stream, until the test says None."""
        self.streams += 1
        if self.refusal is not None:
            await context.abort(*self.refusal)
        reading = asyncio.create_task(self._read(request_iterator))
        if not self.welcomes:
            await self.say.get()
        yield ToNode(welcome=node_v1_pb2.Welcome(epoch=self.streams, heartbeat_seconds=1))
        try:
            while (message := await self.say.get()) is not None:
                yield message
        finally:
            reading.cancel()

    async def _read(self, messages: Any) -> None:
        async for message in messages:
            self.heard.append(message)

    def all(self, kind: str) -> list[Any]:
        """Every message of a kind that was heard."""
        return [getattr(m, kind) for m in self.heard if m.WhichOneof("message") == kind]

    async def until(self, wanted: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not wanted():
                await asyncio.sleep(0.01)

    async def start(self) -> str:
        """Listen, on the port of before; answers the address."""
        pair = self.authority.issue_server("master", addresses=["127.0.0.1"])
        credentials = grpc.ssl_server_credentials(
            [(pair.key_pem, pair.certificate_pem)],
            root_certificates=self.authority.certificate_pem,
            require_client_auth=True,
        )
        self._server = grpc.aio.server()
        node_v1_pb2_grpc.add_NodeServiceServicer_to_server(self, self._server)
        self._port = self._server.add_secure_port(f"127.0.0.1:{self._port}", credentials)
        await self._server.start()
        return f"127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Go away at once."""
        if self._server is not None:
            await self._server.stop(None)


class Node:
    """Notes what the master has told."""

    def __init__(self) -> None:
        self.assigned: list[str] = []
        self.removed: list[str] = []
        self.synced: list[set[str]] = []
        self.trusts: list[node_v1_pb2.Trust] = []
        self.troubles: list[str] = []

    def handlers(self) -> Handlers:
        """What the stream calls."""

        async def hello() -> node_v1_pb2.Hello:
            return node_v1_pb2.Hello(node_name="node1")

        def assign(assignment: node_v1_pb2.PodAssignment) -> str:
            uid = assignment.pod.decode()
            self.assigned.append(uid)
            return uid

        return Handlers(
            hello=hello,
            welcome=lambda welcome: None,
            network=lambda network: None,
            assign=assign,
            removed=self.removed.append,
            synced=self.synced.append,
            open_session=lambda request, using: None,
            trust=self.trusts.append,
            refused=lambda: None,
            trouble=self.troubles.append,
        )


def held(authority: CertificateAuthority, pair: KeyPair) -> Held:
    """The credentials of a node."""
    certificate, key = pair.certificate_pem, pair.key_pem
    return Held(Credentials(ca=authority.certificate_pem, certificate=certificate, key=key))


@pytest.fixture
async def master() -> AsyncIterator[Master]:
    """A master that listens."""
    made = Master()
    yield made
    await made.stop()


@pytest.fixture
async def node() -> Node:
    """What a node is told."""
    return Node()


@pytest.fixture
async def stream(master: Master, node: Node) -> AsyncIterator[ControlStream]:
    """A connected stream."""
    address = await master.start()
    pair = master.authority.issue_client("system:node:node1", organizations=["system:nodes"])
    made = ControlStream(
        address,
        held(master.authority, pair),
        clock=SystemClock(),
        rng=SeededRng(),
    )
    running = asyncio.create_task(made.run(node.handlers()))
    await master.until(lambda: made.connected)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def report(uid: str = "u1", sequence: int = 1) -> node_v1_pb2.PodReport:
    """A pod's status."""
    return node_v1_pb2.PodReport(namespace="default", name="web", uid=uid, sequence=sequence)


def said(master: Master, uid: str = "u1") -> list[int]:
    """The sequence numbers of the reports about a pod that the master has heard."""
    return [one.sequence for one in master.all("pod") if one.uid == uid]


async def test_hello_comes_first_and_heartbeats_follow(
    master: Master, stream: ControlStream
) -> None:
    await master.until(lambda: len(master.all("heartbeat")) >= 2)
    assert master.heard[0].hello.node_name == "node1"
    assert len(master.all("hello")) == 1


async def test_nodes_do_not_come_back_in_the_same_instant(master: Master, node: Node) -> None:
    """E5: all of them lose a master at once."""
    address = await master.start()
    await master.stop()
    own = master.authority.issue_client("system:node:node1", organizations=["system:nodes"])

    async def waits(seed: int) -> float:
        clock, rng = FakeClock(), SeededRng(seed)
        made = ControlStream(address, held(master.authority, own), clock=clock, rng=rng)
        running = asyncio.create_task(made.run(node.handlers()))
        await master.until(lambda: clock.sleepers)
        [(wakes_at, _, _)] = clock._sleepers
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return round(wakes_at, 2)

    found = {await waits(seed) for seed in range(20)}
    assert len(found) > 5
    assert 0.1 <= min(found) <= max(found) <= 0.2


async def test_a_heartbeat_carries_the_newest_usage_once(
    master: Master, stream: ControlStream
) -> None:
    stream.usage(node_v1_pb2.NodeUsage(cpu_nanocores=1))
    stream.usage(node_v1_pb2.NodeUsage(cpu_nanocores=2))
    first = len(master.all("heartbeat"))
    await master.until(lambda: len(master.all("heartbeat")) >= first + 2)
    usages = [
        beat.usage.cpu_nanocores for beat in master.all("heartbeat") if beat.HasField("usage")
    ]
    assert usages == [2]


async def test_what_a_newer_master_says_beyond_our_messages_is_passed_over(
    master: Master, node: Node, stream: ControlStream
) -> None:
    new_field = b"\xc2\x3e\x03new"  # field 1000
    assigned = ToNode(pod=node_v1_pb2.PodAssignment(pod=b"u1"))
    assigned.pod.MergeFromString(new_field)
    master.say.put_nowait(ToNode.FromString(new_field))
    master.say.put_nowait(ToNode.FromString(assigned.SerializeToString() + new_field))
    await master.until(lambda: node.assigned == ["u1"])
    assert stream.connected
    assert master.streams == 1


async def test_what_is_assigned_and_removed_is_handed_on_in_order(
    master: Master, node: Node, stream: ControlStream
) -> None:
    for message in (
        ToNode(pod=node_v1_pb2.PodAssignment(pod=b"u1")),
        ToNode(pod=node_v1_pb2.PodAssignment(pod=b"u2")),
        ToNode(synced=node_v1_pb2.Synced()),
        ToNode(removed=node_v1_pb2.PodRemoved(uid="u1")),
    ):
        await master.say.put(message)
    await master.until(lambda: node.removed)
    assert node.assigned == ["u1", "u2"]
    assert node.synced == [{"u1", "u2"}]
    assert node.removed == ["u1"]


async def test_a_pod_arrives_with_all_its_config_maps_and_secrets(
    master: Master, node: Node, stream: ControlStream
) -> None:
    megabytes = [bytes(1 << 20)] * 3
    large = node_v1_pb2.PodAssignment(pod=b"u1", config_maps=megabytes, secrets=megabytes)
    await master.say.put(ToNode(pod=large))
    await master.until(lambda: node.assigned or master.streams > 1)
    assert (node.assigned, master.streams) == (["u1"], 1)
    assert RECEIVE_MAX_BYTES >= ANSWER_MAX_BYTES, "what the master sends is never refused"


async def test_a_report_is_said_again_after_a_reconnect_until_it_is_accepted(
    master: Master, stream: ControlStream
) -> None:
    stream.pod_report(report(sequence=1))
    await master.until(lambda: said(master) == [1])
    await master.say.put(None)
    await master.until(lambda: said(master) == [1, 1])
    await master.say.put(ToNode(accepted=node_v1_pb2.Accepted(uid="u1", sequence=1)))
    stream.pod_report(report("u2"))
    await master.until(lambda: said(master, "u2"))
    await master.say.put(ToNode(accepted=node_v1_pb2.Accepted(uid="u2", sequence=1)))
    await master.until(lambda: master.say.empty())
    await master.say.put(None)
    await master.until(lambda: master.streams == 3)
    beats = len(master.all("heartbeat"))
    await master.until(lambda: len(master.all("heartbeat")) > beats)
    assert said(master) == [1, 1]


async def test_an_older_acceptance_does_not_forget_a_newer_report(
    master: Master, stream: ControlStream
) -> None:
    stream.pod_report(report(sequence=2))
    await master.until(lambda: said(master) == [2])
    await master.say.put(ToNode(accepted=node_v1_pb2.Accepted(uid="u1", sequence=1)))
    await master.say.put(None)
    await master.until(lambda: said(master) == [2, 2])


async def test_what_happens_while_the_master_is_away_is_said_when_it_is_back(
    master: Master, node: Node, stream: ControlStream
) -> None:
    await master.stop()
    await master.until(lambda: not stream.connected)
    for sequence in range(1, 6):
        stream.pod_report(report(sequence=sequence))
    stream.pod_gone(node_v1_pb2.PodGone(uid="u9"))
    stream.node_report(b"{}")
    stream.event(node_v1_pb2.EventReport(reason="Started"))
    await master.start()
    await master.until(lambda: master.all("gone") and master.all("event") and master.all("node"))
    assert said(master) == [5], "only the newest status counts"


@pytest.mark.parametrize("_", range(3))
async def test_a_stream_that_has_ended_takes_nothing_of_the_next(
    master: Master, stream: ControlStream, _: int
) -> None:
    for number in range(5):
        await master.say.put(None)
        await master.until(lambda number=number: master.streams == number + 2)
        await master.until(lambda: stream.connected)
        stream.event(node_v1_pb2.EventReport(reason=f"event {number}"))
        reasons = [f"event {n}" for n in range(number + 1)]
        await master.until(
            lambda reasons=reasons: [e.reason for e in master.all("event")] == reasons
        )


async def test_a_master_with_another_authority_hears_nothing(
    master: Master, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    address = await master.start()
    stranger = CertificateAuthority.create("other", SystemClock())
    pair = stranger.issue_client("system:node:node1", organizations=["system:nodes"])
    made = ControlStream(
        address,
        held(stranger, pair),
        clock=SystemClock(),
        rng=SeededRng(),
    )
    running = asyncio.create_task(made.run(node.handlers()))
    refused = "the master cannot be reached"
    await master.until(lambda: [r.message for r in caplog.records].count(refused) >= 2)
    assert not made.connected
    assert master.heard == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_master_that_does_not_welcome_a_node_is_asked_again(
    master: Master, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "WELCOME_SECONDS", 0.1)
    address, master.welcomes = await master.start(), False
    pair = master.authority.issue_client("system:node:node1", organizations=["system:nodes"])
    own = held(master.authority, pair)
    made = ControlStream(address, own, clock=SystemClock(), rng=SeededRng())
    running = asyncio.create_task(made.run(node.handlers()))
    await master.until(lambda: node.troubles)
    assert node.troubles[0].startswith("the master cannot be reached: DEADLINE_EXCEEDED")
    master.welcomes = True
    await master.until(lambda: node.troubles[-1] == "")
    assert made.connected
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_master_that_says_no_is_asked_seldom_and_quoted(
    master: Master, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Its Node was deleted, or there are no addresses left: only an operator can change that."""
    address = await master.start()
    master.refusal = (grpc.StatusCode.INVALID_ARGUMENT, "all 255 blocks belong to nodes")
    clock = FakeClock()
    pair = master.authority.issue_client("system:node:node1", organizations=["system:nodes"])
    own = held(master.authority, pair)
    made = ControlStream(address, own, clock=clock, rng=SeededRng())
    running = asyncio.create_task(made.run(node.handlers()))
    await master.until(lambda: node.troubles)  # from here on it waits until it tries again
    assert caplog.records[-1].message == "the master refuses this node"
    assert "all 255 blocks" in vars(caplog.records[-1])["error"]
    assert "all 255 blocks" in node.troubles[-1]
    for refusals, seconds in enumerate((2, 4, 8), 1):
        await clock.advance(seconds / 2 - 0.1)
        assert master.streams == len(node.troubles) == refusals
        await clock.advance(seconds / 2 + 0.1)
        await master.until(lambda before=refusals: len(node.troubles) > before)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
