"""A master that is told to stop says so first, and then ends what is open in good order (A13)."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.api.errors import StatusError
from common.client.grpc import GrpcClient, channel
from common.client.https import ConnectionFailed
from tests.fakes.hostile import good_node
from tests.integration.machine import Machine
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
STOP_SECONDS = 10.0
"""A third of what systemd waits."""
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
POD = {
    "metadata": {"name": "p"},
    "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]},
}


class Stopping:
    """What clients see of a master that stops."""

    def __init__(self, master: RunningMaster) -> None:
        self._master = master
        self.made: list[str] = []
        """ConfigMaps whose making was acknowledged."""
        self.served_meanwhile = 0
        """Calls that were answered after /readyz had said no."""
        self.told = ""
        """What /readyz said then."""

    def run(self) -> float:
        """Stop it and write all the time; for how many seconds it has lived on."""
        process = self._master.process
        assert process is not None
        for _ in range(20):
            self._write()
        process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        while self._ask():
            pass
        assert process.wait(STOP_SECONDS) == 0, self._master.log.read_text()
        return time.monotonic() - start

    def _ask(self) -> bool:
        """Ask whether it is ready, and write; False when nobody answers any more."""
        try:
            status, body = self._master.client().request("GET", "/readyz")
            self._write()
        except ConnectionFailed:
            return False
        except StatusError as error:
            assert error.code in (429, 503), error
            return False
        if status != 200:
            self.told = body.decode()
            self.served_meanwhile += 1
        return True

    def _write(self) -> None:
        name = f"c{len(self.made)}"
        self._master.admin().json("POST", CONFIG_MAPS, {"metadata": {"name": name}})
        self.made.append(name)


def revision(master: RunningMaster) -> str:
    return str(master.admin().json("GET", CONFIG_MAPS)["metadata"]["resourceVersion"])


def config_maps(master: RunningMaster) -> list[dict[str, str]]:
    """The metadata of those that the test has made."""
    found = master.admin().json("GET", CONFIG_MAPS)["items"]
    return [each["metadata"] for each in found if each["metadata"]["name"] != "kube-root-ca.crt"]


@asynccontextmanager
async def opened(master: RunningMaster, path: str) -> AsyncIterator[HTTPResponse]:
    """An answer that is not read yet."""
    with closing(master.connection(master.kubeconfig.certificate)) as connection:
        await asyncio.to_thread(connection.request, "GET", path)
        answer = await asyncio.to_thread(connection.getresponse)
        assert answer.status == 200
        yield answer


def watch_path(since: str, seconds: int) -> str:
    options = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}"
    return f"{CONFIG_MAPS}?{options}&resourceVersion={since}"


def read_watch(answer: HTTPResponse) -> tuple[list[str], str]:
    """The names that a watch has told of until its proper end, and its last revision: '' when
    history is gone."""
    names, last = [], ""
    for line in answer.read().splitlines():  # raises IncompleteRead for a broken end
        event: dict[str, Any] = json.loads(line)
        if event["type"] == "ERROR":
            assert event["object"]["code"] == 410
            return names, ""
        meta = event["object"]["metadata"]
        last = meta["resourceVersion"]
        if event["type"] == "ADDED":
            names.append(meta["name"])
        else:
            assert event["type"] == "BOOKMARK", event
    return names, last


async def watch_over_grpc(master: RunningMaster, since: str) -> list[str]:
    """The names that a watch of a script has told of until it was told of the end."""
    names: list[str] = []
    async with GrpcClient(channel(master.with_certificate())) as client:
        resource = client.resource("configmaps")
        with pytest.raises(StatusError, match="the master is stopping") as ended:
            async for events in client.watch(resource, "default", resource_version=since):
                names += [json.loads(event.data)["metadata"]["name"] for event in events]
        assert ended.value.code == 503
    return names


async def watch_health(master: RunningMaster) -> list[str]:
    """What gRPC's health has said until its proper end."""
    credentials = grpc.ssl_channel_credentials(master.kubeconfig.ca_pem)
    address = f"127.0.0.1:{master.script_port}"
    async with grpc.aio.secure_channel(address, credentials) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        names = health_pb2.HealthCheckResponse.ServingStatus
        return [names.Name(answer.status) async for answer in watch]


async def run_pod(master: RunningMaster) -> None:
    """A pod whose log can be followed."""
    made = master.admin().json("POST", PODS, POD)
    running = {"name": "c", "ready": True, "restartCount": 0, "image": "x", "imageID": ""}
    running["state"] = {"running": {"startedAt": "2030-01-01T00:00:00Z"}}
    status = {"phase": "Running", "containerStatuses": [running]}
    master.admin().json("PUT", f"{PODS}/p/status", {**made, "status": status})


async def test_streams_end_in_good_order_and_watches_go_on_where_they_were(
    own_master: RunningMaster, tmp_path: Path
) -> None:
    machine = await asyncio.to_thread(Machine, own_master, tmp_path)
    node = asyncio.create_task(machine.run())
    await machine.until(lambda: good_node.is_ready(own_master, "n1"))
    await run_pod(own_master)
    since = revision(own_master)
    async with (
        opened(own_master, watch_path(since, 600)) as watch,
        opened(own_master, f"{PODS}/p/log?follow=true") as log,
    ):
        assert await asyncio.to_thread(log.readline) == b"first\n"
        watched = asyncio.create_task(asyncio.to_thread(read_watch, watch))
        health = asyncio.create_task(watch_health(own_master))
        scripted = asyncio.create_task(watch_over_grpc(own_master, since))
        stopping = Stopping(own_master)
        seconds = await asyncio.to_thread(stopping.run)
        assert stopping.served_meanwhile > 0
        assert "[-]shutdown failed: the master is stopping" in stopping.told
        assert seconds < STOP_SECONDS
        assert log.read() == b"\nthe master is stopping\n"
        names, last = await asyncio.wait_for(watched, 10)
        assert await asyncio.wait_for(health, 10) == ["SERVING", "NOT_SERVING"]
        of_script = await asyncio.wait_for(scripted, 10)
    await asyncio.to_thread(own_master.start)
    stored = {int(meta["resourceVersion"]): meta["name"] for meta in config_maps(own_master)}
    in_order = [stored[key] for key in sorted(stored)]
    assert in_order[: len(stopping.made)] == stopping.made
    assert names == [stored[key] for key in sorted(stored) if key <= int(last)]
    assert of_script == in_order[: len(of_script)]
    async with opened(own_master, watch_path(last, 1)) as watch:
        more, reached = await asyncio.to_thread(read_watch, watch)
    assert not reached or names + more == in_order, "a master that was started may have to list"
    await machine.until(lambda: machine.stream.connected)
    events = own_master.admin().json("GET", "/api/v1/events")["items"]
    assert "NodeNotReady" not in {event["reason"] for event in events}
    node.cancel()
    await asyncio.gather(node, return_exceptions=True)
