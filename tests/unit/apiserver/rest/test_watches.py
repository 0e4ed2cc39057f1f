"""Watches over real sockets: forms, filters, ends, and clients that read slowly or never."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from common.api.scheme import SCHEME
from common.limits.unread import Unread
from common.runtime.clock import SystemClock
from master.apiserver.rest import requestinfo, watches
from master.apiserver.rest.outflow import UNREAD_MAX_BYTES
from master.storage.keys import registry_key
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache
from tests.fakes import registry as fakes
from tests.fakes.clock import FakeClock

PATH = "/api/v1/namespaces/n/configmaps"
AS = "application/json;as={};v=v1;g=meta.k8s.io"
SMALL_BUFFER_BYTES = 65536
LAST_CHUNK = b"0\r\n\r\n"


class World:
    """A server of watches of ConfigMaps, and who changes these."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.store = MemoryStore(clock)
        self.cache = WatchCache(self.store, clock)
        self.ended: list[str] = []
        """The names of the watchers whose answers are over."""
        self.port = 0
        self._clock = clock
        self.unread = Unread(UNREAD_MAX_BYTES, SystemClock())
        self._registry = fakes.registry(fakes.pipeline(self.store, self.cache, clock))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What the REST server does with a watch."""
        parameters = dict(request.query)
        parts = requestinfo.segments(request.path)
        info = requestinfo.parse("GET", parts, parameters, SCHEME)
        assert info is not None
        try:
            return await watches.answer(
                request,
                info.target,
                parameters,
                self._registry,
                self._clock,
                self.unread,
                nullcontext(),
            )
        finally:
            self.ended.append(request.headers.get("X-Name", ""))

    async def put(self, name: str, data: str, app: str = "web") -> int:
        """Create or change a ConfigMap; returns when the cache has told everybody."""
        key = registry_key("configmaps", name, "n")
        metadata = {"name": name, "namespace": "n", "labels": {"app": app}}
        head = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata}
        value = json.dumps({**head, "data": {"k": data}}, separators=(",", ":")).encode()
        current, _ = await self.store.get(key)
        if current is None:
            revision = await self.store.create(key, value)
        else:
            revision = await self.store.update(key, value, expected_revision=current.revision)
        await self.cache.wait_for(revision, 5.0)
        return revision

    def unread_events(self) -> int:
        """How many events the watchers have left in the cache."""
        resource = self.cache._resources["configmaps"]
        return sum(len(one._queue) for one in resource.subscriptions)

    async def watching(self, count: int) -> None:
        """Wait until so many watchers wait for events."""
        resource = self.cache._resources["configmaps"]
        await until(lambda: sum(one._wake is not None for one in resource.subscriptions) == count)


async def until(condition: Callable[[], bool]) -> None:
    """Let everybody else run until something is so."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A server whose sockets hold little, with one ConfigMap."""
    made = World()
    following = asyncio.create_task(made.cache.run())
    await made.cache.wait_for(1, 5.0)
    await made.put("first", "0")
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
    await web.SockSite(runner, listening).start()
    made.port = listening.getsockname()[1]
    yield made
    following.cancel()
    await runner.cleanup()
    with contextlib.suppress(asyncio.CancelledError):
        await following


class Watcher:
    """A client that reads a line when it is asked to."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def event(self) -> tuple[str, Any]:
        """Type and object of the next event."""
        async with asyncio.timeout(20):
            line = json.loads(await self.response.content.readline())
        return line["type"], line["object"]

    async def values(self, count: int) -> list[str]:
        """What the data of the next events says."""
        return [(await self.event())[1]["data"]["k"] for _ in range(count)]


class Clients:
    """Makes readers, and ends them."""

    def __init__(self, world: World, session: aiohttp.ClientSession) -> None:
        self._world = world
        self._session = session
        self._made: list[Watcher] = []

    async def watch(self, accept: str = "", **parameters: str) -> Watcher:
        """A reader of what happens from now on."""
        query = {"watch": "1", "resourceVersion": str(self._world.cache.revision), **parameters}
        url = f"http://127.0.0.1:{self._world.port}{PATH}"
        response = await self._session.get(url, params=query, headers={"Accept": accept})
        self._made.append(Watcher(response))
        return self._made[-1]

    def close(self) -> None:
        """Close their connections."""
        for one in self._made:
            one.response.close()


@pytest.fixture
async def clients(world: World) -> AsyncIterator[Clients]:
    """Readers whose connections end with the test."""
    async with aiohttp.ClientSession(read_bufsize=1 << 20) as session:
        made = Clients(world, session)
        yield made
        made.close()


class Sleeper:
    """A watcher whose socket holds little, and who reads nothing until it is asked to."""

    def __init__(self, world: World, parameters: str = "") -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        self._socket.connect(("127.0.0.1", world.port))
        self._socket.setblocking(False)
        query = f"watch=1&resourceVersion={world.cache.revision}{parameters}"
        request = f"GET {PATH}?{query} HTTP/1.1\r\nHost: x\r\nX-Name: sleeper\r\n\r\n"
        self._socket.send(request.encode())
        self.received = b""

    async def read_until(self, mark: bytes) -> None:
        """Read on until a text was received, or the connection is over."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while mark not in self.received[-len(mark) - 65536 :]:
                try:
                    piece = await loop.sock_recv(self._socket, 65536)
                except ConnectionResetError:
                    return
                if not piece:
                    return
                self.received += piece

    def __enter__(self) -> Sleeper:
        """It watches since it was made."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the connection."""
        self._socket.close()


async def test_every_watcher_is_told_in_order(world: World, clients: Clients) -> None:
    readers = [await clients.watch() for _ in range(5)]
    await world.watching(5)
    told = [str(number) for number in range(50)]
    for number in told:
        await world.put("first", number)
    for reader in readers:
        assert await reader.values(50) == told


async def test_a_waiting_watcher_is_told_without_being_woken(
    world: World, clients: Clients
) -> None:
    reader = await clients.watch()
    await world.watching(1)
    (subscription,) = world.cache._resources["configmaps"].subscriptions
    waits_for = subscription._wake
    revision = await world.put("first", "1")
    assert await reader.values(1) == ["1"]
    assert subscription._wake is waits_for
    assert subscription.revision == revision


@pytest.mark.parametrize("selector", ["labelSelector", "fieldSelector"])
async def test_a_filter_sees_objects_come_and_go(
    world: World, clients: Clients, selector: str
) -> None:
    wanted = {"labelSelector": "app=db", "fieldSelector": "metadata.name=second"}[selector]
    reader = await clients.watch(**{selector: wanted})
    await world.watching(1)
    await world.put("first", "unseen")
    await world.put("second", "1", app="db")
    await world.put("second", "2", app="db")
    seen = [(kind, obj["data"]["k"]) for kind, obj in [await reader.event() for _ in range(2)]]
    assert seen == [("ADDED", "1"), ("MODIFIED", "2")]
    revision = await world.put("second", "3")
    kind, obj = await reader.event()
    assert obj["metadata"]["resourceVersion"] == str(revision)
    last = ("DELETED", "2") if selector == "labelSelector" else ("MODIFIED", "3")
    assert (kind, obj["data"]["k"]) == last, "what no longer fits is shown as it last did"


async def test_only_the_first_table_has_a_head(world: World, clients: Clients) -> None:
    reader, late = [await clients.watch(AS.format("Table")) for _ in range(2)]
    await world.watching(2)
    for number in range(2):
        await world.put("first", str(number))
    for one in (reader, late):
        (_, first), (_, second) = [await one.event() for _ in range(2)]
        assert first["columnDefinitions"][0]["name"] == "Name"
        assert second["columnDefinitions"] is None
        assert second["rows"][0]["cells"][0] == "first"


async def test_forms_do_not_mix(world: World, clients: Clients) -> None:
    forms = ["", AS.format("PartialObjectMetadata"), AS.format("Table")]
    readers = [await clients.watch(form) for form in (*forms, *forms)]
    await world.watching(6)
    await world.put("first", "1")
    kinds = [(await reader.event())[1]["kind"] for reader in readers]
    assert kinds == ["ConfigMap", "PartialObjectMetadata", "Table"] * 2


async def test_time_is_up_with_a_bookmark(world: World, clients: Clients) -> None:
    options = {"timeoutSeconds": "1", "allowWatchBookmarks": "true"}
    reader = await clients.watch(**options)
    await world.watching(1)
    revision = await world.put("first", "1")
    assert await reader.values(1) == ["1"]
    kind, obj = await reader.event()
    assert (kind, obj["metadata"]["resourceVersion"]) == ("BOOKMARK", str(revision))
    assert await reader.response.content.readline() == b"", "the answer is complete"


async def test_a_revision_from_before_the_history_is_gone(world: World, clients: Clients) -> None:
    reader = await clients.watch(resourceVersion="0")
    assert (await reader.event())[0] == "ADDED"
    world.cache._resources["configmaps"].floor_revision = world.cache.revision
    late = await clients.watch(resourceVersion=str(world.cache.revision - 1))
    kind, obj = await late.event()
    assert (late.response.status, kind, obj["code"]) == (200, "ERROR", 410)
    assert await late.response.content.readline() == b"", "the answer is complete"


async def test_a_revision_that_is_yet_to_come_is_of_a_store_that_was_restored(
    world: World, clients: Clients
) -> None:
    """A watch from there would miss everything until then."""
    revision = world.cache.revision
    late = await clients.watch(resourceVersion=str(revision + 1))
    kind, obj = await late.event()
    assert (late.response.status, kind, obj["code"]) == (200, "ERROR", 410)
    assert obj["message"] == f"the store was restored: revision {revision + 1} is yet to come"
    reader = await clients.watch(resourceVersion=str(revision))
    await world.watching(1)
    await world.put("first", "1")
    assert await reader.values(1) == ["1"]


async def test_who_reads_late_misses_nothing(world: World) -> None:
    """First past the wait, then behind it, then past it again: each event once and in order."""
    with Sleeper(world) as sleeper:
        await world.watching(1)
        for number in range(20):
            await world.put("first", "x" * 200_000 + f"<{number}>")
        assert world.unread_events() > 0
        await sleeper.read_until(b"<19>")
        await world.watching(1)
        await world.put("first", "<20>")
        await sleeper.read_until(b"<20>")
        found = re.findall(rb"<(\d+)>", sleeper.received)
        assert [int(number) for number in found] == list(range(21))
        assert sleeper.received.count(b"x") >= 20 * 200_000


async def test_who_never_reads_is_closed_and_others_are_not(
    world: World, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    reader = await clients.watch()
    with Sleeper(world) as sleeper:
        await world.watching(2)
        count = 0
        while not world.ended:
            await world.put("first", f"{count}x" + "x" * 500_000)
            (value,) = await reader.values(1)
            assert value.startswith(f"{count}x")
            count += 1
            assert count < 100, "nothing is kept for a watcher without end"
        assert world.ended == ["sleeper"]
        await sleeper.read_until(b"never sent")
        assert not sleeper.received.endswith(LAST_CHUNK), "what was cut off looks complete"
    assert not caplog.records
    await world.put("first", "last")
    assert await reader.values(1) == ["last"]


async def test_time_is_up_for_who_never_reads(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with Sleeper(world, "&timeoutSeconds=1") as sleeper:
        await world.watching(1)
        for number in range(10):
            await world.put("first", str(number) + "x" * 500_000)
        await until(lambda: world.ended == ["sleeper"])
        await sleeper.read_until(b"never sent")
        assert not sleeper.received.endswith(LAST_CHUNK), "what was cut off looks complete"
    assert not caplog.records


async def test_time_is_up_in_the_middle_of_a_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is cut off then: an end behind half a line would be another line, a broken one."""

    async def half(
        request: web.Request, response: web.StreamResponse, data: bytes, **_: Any
    ) -> None:
        await response.write(data[: len(data) // 2])
        await asyncio.Event().wait()

    monkeypatch.setattr(watches.outflow, "write", half)
    with Sleeper(world, "&timeoutSeconds=1&allowWatchBookmarks=true") as sleeper:
        await world.watching(1)
        await world.put("first", "x" * 100_000)
        await sleeper.read_until(b"never sent")
        assert world.ended == ["sleeper"]
        assert sleeper.received.count(b"x") > 10_000
        assert b"BOOKMARK" not in sleeper.received
        assert not sleeper.received.endswith(LAST_CHUNK), "what was cut off looks complete"


async def test_a_deprecated_kind_is_watched_with_a_warning(world: World) -> None:
    url = f"http://127.0.0.1:{world.port}/api/v1/namespaces/n/endpoints?watch=1"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert "v1 Endpoints is deprecated in v1.33+" in response.headers["Warning"]


async def test_a_head_of_a_watch_has_no_body(world: World) -> None:
    url = f"http://127.0.0.1:{world.port}{PATH}?watch=1"
    async with aiohttp.ClientSession() as session, session.head(url) as answer:
        assert answer.status == 200
        assert await answer.read() == b""


async def test_large_objects_wait_for_their_readers_by_reference(world: World) -> None:
    """Each watcher holds a few pieces of its own, and the rest is the cache's."""
    with Sleeper(world) as sleeper:
        await world.watching(1)
        for number in range(6):
            await world.put("first", str(number) * 1_000_000)
        kept = [
            e for r in world.cache._resources.values() for s in r.subscriptions for e in s._queue
        ]
        assert len(kept) >= 2, "those that the connection had no room for"
        assert all(e.entry is not None for e in kept)
        await sleeper.read_until(b'"5' + b"5" * 1000)
        for number in range(6):
            assert str(number).encode() * 1000 in sleeper.received


async def test_what_a_watcher_has_not_read_is_counted_until_it_has(world: World) -> None:
    with Sleeper(world) as sleeper:
        await world.watching(1)
        for number in range(6):
            await world.put("first", str(number) * 1_000_000)
        await until(lambda: world.unread.used_bytes > 3_000_000)
        await sleeper.read_until(b'5"}}}\n')
        await until(lambda: world.unread.used_bytes == 0)


async def test_who_reads_nothing_is_cut_off_when_others_need_the_room(world: World) -> None:
    world.unread.limit_bytes = 2_500_000
    with Sleeper(world) as sleeper:
        await world.watching(1)
        for number in range(4):
            await world.put("first", str(number) * 1_000_000)
        assert world.ended == [], "nothing is stalled yet"
        async with asyncio.timeout(20):
            while not world.ended:
                await world.put("first", "x" * 100_000)
                await asyncio.sleep(0.05)
        await sleeper.read_until(b"never sent")
        assert not sleeper.received.endswith(LAST_CHUNK), "what was cut off looks complete"
    assert world.unread.used_bytes == 0


async def test_what_was_shown_is_not_kept(world: World, clients: Clients) -> None:
    """A watch goes on for half an hour; the objects that it began with change meanwhile."""
    await world.put("second", "shown first")
    entry = world.cache.get(registry_key("configmaps", "second", "n"))
    assert entry is not None
    before = sys.getrefcount(entry)
    reader = await clients.watch(resourceVersion="0")
    assert (await reader.values(2))[1] == "shown first"
    await world.watching(1)
    gc.collect()
    watches._shared_line.cache_clear()
    assert sys.getrefcount(entry) == before
