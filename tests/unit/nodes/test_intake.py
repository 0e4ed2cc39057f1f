"""What a node may send: each field is bounded, and what is refused has changed nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.api.errors import StatusError
from master.nodes import intake
from master.nodes.intake import Refused
from master.nodes.session import FRAME_MAX_BYTES, Session
from protos import node_v1_pb2
from tests.unit.apiserver.rpc.test_streams import NODE, Setup, report, setup

__all__ = ["setup"]
FromNode = node_v1_pb2.FromNode
OWN = {"apiVersion": "v1", "kind": "Pod", "namespace": "n", "name": "p", "uid": "u"}


def is_own(namespace: str, name: str, uid: str) -> bool:
    return (namespace, name, uid) == ("n", "p", "u")


def event(about: Any = OWN, **fields: str) -> node_v1_pb2.EventReport:
    data = about if isinstance(about, bytes) else json.dumps(about).encode()
    said = {"type": "Normal", "reason": "Started", "message": "it runs", **fields}
    return node_v1_pb2.EventReport(involved_object=data, **said)


def test_an_event_about_an_own_pod_is_taken() -> None:
    found = intake.occurrence(event(), "n1", is_own)
    assert found.about == OWN
    assert (found.type, found.reason, found.message) == ("Normal", "Started", "it runs")


@pytest.mark.parametrize("field", ["boot_id", "machine_id", "version", "trusts"])
def test_the_words_of_a_hello_are_short(field: str) -> None:
    intake.check_hello(node_v1_pb2.Hello(**{field: "x" * 253}))  # type: ignore[arg-type]
    with pytest.raises(intake.Refused, match=field):
        intake.check_hello(node_v1_pb2.Hello(**{field: "x" * 254}))  # type: ignore[arg-type]


def test_a_long_message_is_cut() -> None:
    assert len(intake.occurrence(event(message="x" * 5000), "n1", is_own).message) == 1024


def test_an_event_about_the_own_node_is_taken() -> None:
    about = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
    assert intake.occurrence(event(about), "n1", is_own).about == about


@pytest.mark.parametrize(
    "about",
    [
        {**OWN, "namespace": "a/b"},
        {**OWN, "name": "x" * 1_900_000},
        {**OWN, "name": "of-another"},
        {**OWN, "uid": "another"},
        {**OWN, "kind": "Secret"},
        {**OWN, "fieldPath": "x" * 2000},
        {"apiVersion": "v1", "kind": "Node", "name": "n2"},
        {**OWN, "name": 5},
        [],
        b"{",
        b"[" * 4000,
        b"\xff",
        {},
    ],
    ids=lambda about: str(about)[:40],
)
def test_events_about_others_are_refused(about: Any) -> None:
    with pytest.raises(Refused) as raised:
        intake.occurrence(event(about), "n1", is_own)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "fields",
    [{"type": "Foo"}, {"type": "x" * 10**6}, {"reason": ""}, {"reason": "x" * 129}],
    ids=str,
)
def test_types_and_reasons_are_some(fields: dict[str, str]) -> None:
    with pytest.raises(Refused):
        intake.occurrence(event(**fields), "n1", is_own)


def usage(**fields: Any) -> FromNode:
    made = node_v1_pb2.NodeUsage(**fields)
    return FromNode(heartbeat=node_v1_pb2.Heartbeat(usage=made))


def pod(**fields: Any) -> FromNode:
    said = {"namespace": "n", "name": "p", "uid": "u", **fields}
    return FromNode(pod=node_v1_pb2.PodReport(**said))


CONTAINER = node_v1_pb2.ContainerUsage(name="c", memory_working_set_bytes=-1)
REFUSED = {
    "time beyond the calendar": usage(timestamp_ms=2**62),
    "time before 1970": usage(timestamp_ms=-1),
    "negative window": usage(window_ms=-1),
    "window of years": usage(window_ms=2**60),
    "negative amount": usage(cpu_nanocores=-1),
    "amount near overflow": usage(memory_working_set_bytes=2**63 - 1),
    "load that is no number": usage(load_1m=float("nan")),
    "too many pods": usage(pods=[node_v1_pb2.PodUsage()] * 2000),
    "too many containers": usage(
        pods=[node_v1_pb2.PodUsage(containers=[node_v1_pb2.ContainerUsage()] * 2000)]
    ),
    "negative amount of a container": usage(pods=[node_v1_pb2.PodUsage(containers=[CONTAINER])]),
    "long name": usage(pods=[node_v1_pb2.PodUsage(name="x" * 1000)]),
    "pod in no namespace": pod(namespace="a/b"),
    "pod of no name": pod(name=""),
    "pod with a line end": pod(name="p\n"),
    "long uid": pod(uid="x" * 1000),
    "large status": pod(status=b"x" * (300 << 10)),
    "large node": FromNode(node=node_v1_pb2.NodeReport(status=b"x" * (600 << 10))),
    "gone from no namespace": FromNode(gone=node_v1_pb2.PodGone(namespace="..", name="p")),
}


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_out_of_bounds_is_refused_and_the_stream_goes_on(
    setup: Setup, message: FromNode, caplog: pytest.LogCaptureFixture
) -> None:
    stream = setup.hub.open("n1", NODE)
    await setup.read(stream, message, report("after"))
    assert list(stream.reports) == ["pod after"]
    assert setup.hub.usage == {}
    assert setup.hub.silence_seconds("n1") == 0.0, "it lives all the same"
    assert [r.message for r in caplog.records] == ["a message was refused"]


async def test_refusals_do_not_fill_the_log(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    stream = setup.hub.open("n1", NODE)
    await setup.read(stream, *[pod(namespace="a/b")] * 500)
    assert len(caplog.records) <= 10


async def test_usage_of_pods_of_others_is_left_out(setup: Setup) -> None:
    stream = setup.hub.open("n1", NODE)
    await setup.read(stream, usage(cpu_nanocores=5, pods=[node_v1_pb2.PodUsage(name="alien")]))
    assert setup.hub.usage["n1"].cpu_nanocores == 5
    assert list(setup.hub.usage["n1"].pods) == []


async def test_a_node_is_read_no_faster_than_it_may_send(setup: Setup) -> None:
    stream = setup.hub.open("n1", NODE)
    flood = [FromNode(heartbeat=node_v1_pb2.Heartbeat())] * 10_000
    reading = asyncio.create_task(setup.read(stream, *flood))
    await setup.clock.advance(10.0)
    assert not reading.done()
    await setup.clock.advance(60.0)
    assert reading.done()


async def test_reports_that_cannot_be_stored_are_kept_up_to_a_size(setup: Setup) -> None:
    stream = setup.hub.open("n1", NODE)
    large = [pod(name=f"p{n}", uid=str(n), status=b"x" * (250 << 10)) for n in range(100)]
    reading = asyncio.create_task(setup.read(stream, *large))
    await setup.clock.advance(600.0)
    assert not reading.done()
    assert 30 < len(stream.reports) < 40
    while not reading.done():
        if stream.reports:
            stream.next_report()
        await setup.clock.advance(10.0)
    assert "pod 99" in stream.reports


async def error_of(frame: node_v1_pb2.SessionFrame) -> StatusError:
    """What the reader of a session's frame is told."""

    async def sent() -> AsyncIterator[Any]:
        yield frame

    session = Session("s1", "n1", endless=False)
    await session.pump(sent())
    with pytest.raises(StatusError) as raised:
        await session.receive()
    return raised.value


@pytest.mark.parametrize(
    "error",
    [
        b"[]",
        b"{",
        b'{"code": 0}',
        b'{"code": 99999}',
        b'{"code": 418}',
        b'{"code": "404"}',
        b'{"code": true}',
        b'{"code": 404, "message": 5}',
        b"{}",
    ],
    ids=str,
)
async def test_an_error_that_is_no_status_is_a_bad_gateway(error: bytes) -> None:
    found = await error_of(node_v1_pb2.SessionFrame(end=True, error=error))
    assert found.code == 502


async def test_a_status_of_a_node_is_told() -> None:
    data = b'{"code": 404, "reason": "NotFound", "message": "no such log"}'
    found = await error_of(node_v1_pb2.SessionFrame(end=True, error=data))
    assert (found.code, found.reason, found.message) == (404, "NotFound", "no such log")


async def test_a_frame_that_is_too_large_ends_its_session() -> None:
    found = await error_of(node_v1_pb2.SessionFrame(data=b"x" * (FRAME_MAX_BYTES + 1)))
    assert found.code == 502
