"""Lists in every form, small and large: what is sent in pieces is what would be sent whole."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from common.api.codec import json as codec
from common.api.codec import protobuf
from common.api.scheme import SCHEME
from common.limits import unread
from common.limits.unread import Unread
from common.runtime.clock import SystemClock
from common.runtime.offload import Offload
from master.apiserver.registry.handler import Shown
from master.apiserver.registry.registry import ObjectPage
from master.apiserver.resources.core import configmap
from master.apiserver.rest import lists, negotiate, outflow
from master.apiserver.rest.connections import held_for
from master.apiserver.rest.lists import SMALL_BYTES, Asked, Lists

found = SCHEME.resource("", "v1", "configmaps")
assert found is not None
CONFIG_MAPS = found
SHOWN = Shown(found.columns, configmap.cells_of)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
AS = "application/json;as={};v=v1;g=meta.k8s.io"
FORMS = {
    "json": "application/json",
    "yaml": "application/yaml",
    "protobuf": "application/vnd.kubernetes.protobuf",
    "table": AS.format("Table"),
    "partial": AS.format("PartialObjectMetadataList"),
}
KINDS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
LARGE = {"none": (0, 0), "small": (3, 10), "many": (2000, 200), "large items": (5, 400_000)}


def page(count: int, size: int) -> ObjectPage:
    items = [
        codec.encode(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"c{n}", "namespace": "n", "resourceVersion": str(n)},
                "data": {"k": "é" * size},
            }
        )
        for n in range(count)
    ]
    return ObjectPage(items, 77, "token" if count else "", 5 if count else None)


class World:
    """A server that answers one list."""

    def __init__(self) -> None:
        self.found = page(0, 0)
        self.port = 0
        self.lists = Lists(Offload(threads=1))
        self.unread = Unread(1 << 20, SystemClock())
        self.ended = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        form = negotiate.accepted(request.headers["Accept"], KINDS)
        asked = Asked(CONFIG_MAPS, SHOWN, form, "Metadata", NOW)
        try:
            with held_for(request, self.unread) as holding:
                holding.add(self.found.items)
                return await self.lists.answer(request, asked, self.found, holding)
        finally:
            self.ended.set()

    async def ask(self, form: str, method: str = "GET") -> tuple[bytes, dict[str, str]]:
        url = f"http://127.0.0.1:{self.port}/"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers={"Accept": FORMS[form]}) as answer,
        ):
            return await answer.read(), dict(answer.headers)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    app = web.Application()
    app.router.add_route("*", "/", made.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


def expected(world: World) -> dict[str, Any]:
    """The list as plain values."""
    items = [codec.decode_plain(data) for data in world.found.items]
    for item in items:
        del item["kind"], item["apiVersion"]
    metadata: dict[str, Any] = {"resourceVersion": "77"}
    if items:
        metadata |= {"continue": "token", "remainingItemCount": 5}
    return {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items}


@pytest.mark.parametrize("size", LARGE)
async def test_json_and_yaml(world: World, size: str) -> None:
    world.found = page(*LARGE[size])
    body, headers = await world.ask("json")
    assert json.loads(body) == expected(world)
    whole = sum(map(len, world.found.items)) < SMALL_BYTES
    assert ("Content-Length" in headers) == whole
    if size != "large items":
        body, headers = await world.ask("yaml")
        assert yaml.load(body, yaml.CSafeLoader) == expected(world)
    assert headers["Content-Type"] in ("application/json", "application/yaml")


@pytest.mark.parametrize("size", LARGE)
async def test_protobuf_is_the_same_as_encoded_at_once(world: World, size: str) -> None:
    world.found = page(*LARGE[size])
    body, headers = await world.ask("protobuf")
    assert protobuf.decode(body) == protobuf.decode(protobuf.encode(expected(world)))
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize(("size", "in_loop"), [("many", True), ("large items", False)])
async def test_large_items_are_no_work_of_the_loops(
    world: World, monkeypatch: pytest.MonkeyPatch, size: str, in_loop: bool
) -> None:
    """A pod of 1.5 MB takes longer than others may wait."""
    threads, real = [], protobuf.list_item

    def noted(head: dict[str, Any], plain: dict[str, Any]) -> bytes:
        threads.append(threading.current_thread() is threading.main_thread())
        return real(head, plain)

    monkeypatch.setattr(protobuf, "list_item", noted)
    world.found = page(*LARGE[size])
    await world.ask("protobuf")
    assert threads == [in_loop] * len(world.found.items)


@pytest.mark.parametrize("size", LARGE)
async def test_tables_and_metadata(world: World, size: str) -> None:
    world.found = page(*LARGE[size])
    names = [item["metadata"]["name"] for item in expected(world)["items"]]
    table = json.loads((await world.ask("table"))[0])
    assert table["kind"] == "Table"
    assert table["metadata"] == expected(world)["metadata"]
    assert [row["cells"][0] for row in table["rows"]] == names
    partial = json.loads((await world.ask("partial"))[0])
    assert partial["kind"] == "PartialObjectMetadataList"
    assert [item["metadata"]["name"] for item in partial["items"]] == names


@pytest.mark.parametrize("form", FORMS)
async def test_a_head_has_no_body(world: World, form: str) -> None:
    world.found = page(*LARGE["many"])
    body, _ = await world.ask(form, "HEAD")
    assert body == b""


async def test_others_have_their_turns_while_a_list_is_made(world: World) -> None:
    world.found = page(5000, 200)
    turns, asking = 0, asyncio.create_task(world.ask("table"))
    while not asking.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 50


async def test_a_client_that_reads_nothing_is_cut_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And until then little of the list is in memory: the rest is not even rendered."""
    monkeypatch.setattr(outflow.write, "__kwdefaults__", {"stall_seconds": 0.3, "holding": None})
    rendered = []

    def render(data: bytes) -> bytes:
        rendered.append(1)
        return data

    monkeypatch.setattr(lists, "without_type", render)
    world.found = page(200, 200_000)
    with socket.create_connection(("127.0.0.1", world.port)) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nAccept: {FORMS['json']}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            await world.ended.wait()
    assert 0 < len(rendered) < 100, "what the kernel's buffers hold, and no more"


async def test_a_client_that_reads_nothing_makes_room_for_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of objects that have changed since: what both lists hold is more than clients may."""
    monkeypatch.setattr(unread, "STALLED_SECONDS", 0.1)
    world.found = page(200, 20_000)
    with socket.create_connection(("127.0.0.1", world.port)) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nAccept: {FORMS['json']}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            while world.unread.used_bytes == 0:
                await asyncio.sleep(0.01)
            first = world.unread.used_bytes
            world.found = page(200, 20_001)
            await asyncio.sleep(0.3)
            body, _ = await world.ask("json")
            assert json.loads(body) == expected(world)
            await world.ended.wait()
    assert first > 4_000_000
    assert world.unread.used_bytes == 0
