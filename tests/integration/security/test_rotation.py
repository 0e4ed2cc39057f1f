"""Certificates are renewed and authorities followed by others, and no request fails (G8 to G10)."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from common.api.errors import StatusError
from common.api.wellknown import ACCOUNT_NAME, ACCOUNT_TOKEN
from common.client.https import ConnectionFailed, KubeConfig
from common.etcd.client import EtcdClient
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.ca import KeyPair, key_id, serial_of
from common.security.identity import identity_from_pem
from common.security.kubeconfigs import EXPIRES, NAME_PREFIX, NAMESPACE
from node.kubeproxy.credentials import Follower, tls
from tests.integration.machine import Machine
from tests.integration.security.test_access import wherry
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
PODS = "/api/v1/namespaces/default/pods"
POD = {
    "metadata": {"name": "p"},
    "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]},
}
LOG = f"{PODS}/p/log"
SECRETS = "/api/v1/namespaces/default/secrets"
SERVICES = "/api/v1/namespaces/default/services"
FILES = {"master": "data/pki/server.crt", "etcd": "data/etcd/pki/server.crt"}


@pytest.fixture
async def machine(own_master: RunningMaster, tmp_path: Path) -> AsyncIterator[Machine]:
    made = await asyncio.to_thread(Machine, own_master, tmp_path)
    running = asyncio.create_task(made.run())
    await made.until(lambda: made.stream.connected)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def load(master: RunningMaster, *, pause_seconds: float = 0.0) -> AsyncIterator[list[str]]:
    """Reads and writes, and logs of the node, all the time, each on a new connection; what has
    failed."""
    admin = master.admin()
    made = admin.json("POST", PODS, POD)
    running = {"name": "c", "ready": True, "restartCount": 0, "image": "x", "imageID": ""}
    running["state"] = {"running": {"startedAt": "2030-01-01T00:00:00Z"}}
    status = {"phase": "Running", "containerStatuses": [running]}
    admin.json("PUT", f"{PODS}/p/status", {**made, "status": status})
    failed: list[str] = []
    over = threading.Event()
    path = "/api/v1/namespaces/default/configmaps"

    def ask() -> None:
        number = 0
        while not over.wait(pause_seconds):
            number += 1
            try:
                client = master.admin()
                client.json("POST", path, {"metadata": {"name": f"c{number}"}})
                client.json("GET", f"{path}/c{number}")
                status, log = client.request("GET", LOG)
                assert (status, log) == (200, b"first\nlast\n"), log
            except (ConnectionFailed, StatusError, AssertionError) as error:
                failed.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield failed
    finally:
        over.set()
        await asyncio.to_thread(asking.join)


async def test_authorities_are_replaced_and_nobody_notices(
    own_master: RunningMaster, machine: Machine
) -> None:
    former, first = own_master.kubeconfig, machine.held.current
    annotations = {ACCOUNT_NAME: "default"}
    token = {"metadata": {"name": "token", "annotations": annotations}, "type": ACCOUNT_TOKEN}
    await asyncio.to_thread(own_master.admin().json, "POST", SECRETS, token)
    headers = {"Authorization": f"Bearer {own_master.with_token().token}"}
    with closing(own_master.connection(None)) as connection:
        async with load(own_master) as failed:
            path = f"{LOG}?follow=true"
            await asyncio.to_thread(connection.request, "GET", path, headers=headers)
            with await asyncio.to_thread(connection.getresponse) as followed:
                assert await asyncio.to_thread(followed.readline) == b"first\n"
                said = await asyncio.to_thread(wherry, own_master, "ca", "rotate")
                machine.over.set()
                assert await asyncio.to_thread(followed.read) == b"last\n"
    steps = [line.split(":")[0] for line in said.splitlines()]
    assert [one for one in steps if one in ("begin", "switch", "finish")] == [
        "begin",
        "switch",
        "finish",
    ]
    assert failed == []
    now = own_master.kubeconfig
    assert now.ca_pem.count(b"BEGIN") == 1
    assert now.ca_pem != former.ca_pem
    await machine.until(lambda: machine.held.current.ca == now.ca_pem)
    signer = (own_master.directory / "data/pki/client-ca/ca.crt").read_bytes()
    assert identity_from_pem(machine.held.current.certificate).authority == key_id(signer)
    assert identity_from_pem(first.certificate).authority != key_id(signer)
    with pytest.raises(ConnectionFailed):
        former.client().json("GET", "/version")
    assert now.certificate is not None and former.certificate is not None
    with pytest.raises(ConnectionFailed):
        own_master.client(certificate=former.certificate).json("GET", "/api/v1/nodes")
    path = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt"
    await machine.until(
        lambda: own_master.admin().json("GET", path)["data"]["ca.crt"] == now.ca_pem.decode()
    )
    authority = base64.b64encode(now.ca_pem).decode()
    await machine.until(
        lambda: own_master.admin().json("GET", f"{SECRETS}/token")["data"]["ca.crt"] == authority
    )
    assert wherry(own_master, "ca", "status") == "no rotation is under way"


async def test_connections_that_are_open_end_with_the_authority_of_their_certificate(
    own_master: RunningMaster,
) -> None:
    """Whoever has stolen its key could go on for as long as no connection breaks."""
    former = own_master.kubeconfig.certificate
    with (
        closing(own_master.connection(former)) as connection,
        closing(own_master.connection(former)) as other,
    ):
        connection.request("GET", "/api/v1/nodes")
        assert connection.getresponse().read()
        other.request("GET", "/api/v1/namespaces?watch=1")
        watch = other.getresponse()
        assert watch.readline()
        await asyncio.to_thread(wherry, own_master, "ca", "rotate")
        connection.request("GET", "/api/v1/nodes")
        answer = json.load(connection.getresponse())
        assert (answer["code"], answer["message"]) == (
            401,
            "the authority that signed the certificate is not trusted any more",
        )
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            await asyncio.to_thread(watch.read)


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_certificates_of_two_minutes_are_renewed_for_ten(tmp_path: Path) -> None:
    """Everything that is renewed, under load: the master's, etcd's, the admin's and a node's, and
    kube-proxy's connection."""
    master = RunningMaster(tmp_path)
    master.settings = tmp_path / "config.yaml"
    master.settings.write_text("certificate-lifetime: 2m\n")
    master.start()
    try:
        machine = await asyncio.to_thread(Machine, master, tmp_path)
        own, clock = machine.held.current, SystemClock()
        client = EtcdClient(
            [f"127.0.0.1:{master.node_port}"], tls(own), clock=clock, rng=SystemRng()
        )
        seen: list[str] = []

        services = (b"/wherry/registry/services/", b"/wherry/registry/services0")

        async def watch(start: int) -> None:
            async with aclosing(client.watch(*services, start_revision=start)) as batches:
                async for batch in batches:
                    seen.extend(event.item.key.decode() for event in batch.events)

        running = asyncio.create_task(machine.run())
        await machine.until(lambda: machine.stream.connected)
        following = asyncio.create_task(Follower(machine.directory, own, client, clock).run())
        start = (await client.range(*services)).revision + 1
        watching = asyncio.create_task(watch(start))
        ends: dict[str, set[str]] = {"node": set(), "master": set(), "etcd": set(), "admin": set()}
        written: list[str] = []
        async with load(master, pause_seconds=0.1) as failed:
            for minute in range(10 * 12):
                await asyncio.sleep(5)
                ends["node"].add(serial_of(machine.held.current.certificate))
                for name, file in FILES.items():
                    ends[name].add(serial_of((master.directory / file).read_bytes()))
                admin = master.kubeconfig.certificate
                assert admin is not None
                ends["admin"].add(serial_of(admin.certificate_pem))
                name = f"s{minute}"
                body = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
                await asyncio.to_thread(master.admin().json, "POST", SERVICES, body)
                written.append(f"/wherry/registry/services/default/{name}")
        await machine.until(lambda: seen[-1:] == written[-1:])
        assert failed == []
        assert [key for key in seen if key in written] == written
        assert {name: len(found) >= 7 for name, found in ends.items()} == dict.fromkeys(ends, True)
        for task in (running, following, watching):
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(running, following, watching, return_exceptions=True)
        await client.close()
    finally:
        master.stop()


async def test_a_rotation_waits_for_those_who_would_be_left_outside(
    own_master: RunningMaster, machine: Machine, tmp_path: Path
) -> None:
    file = str(tmp_path / "mia.kubeconfig")
    await asyncio.to_thread(wherry, own_master, "kubeconfig", "create", "mia", "-o", file)
    with pytest.raises(subprocess.CalledProcessError) as error:
        await asyncio.to_thread(wherry, own_master, "ca", "rotate", "--timeout", "1")
    assert "kubeconfig mia is of before" in str(error.value.stderr)
    assert "next step: switch" in wherry(own_master, "ca", "status")
    assert KubeConfig(Path(file)).client().request("GET", "/api/v1/nodes")[0] == 200
    await asyncio.to_thread(own_master.stop)
    await asyncio.to_thread(own_master.start)
    assert "next step: switch" in wherry(own_master, "ca", "status")
    wherry(own_master, "kubeconfig", "revoke", "mia")
    wherry(own_master, "kubeconfig", "create", "mia", "-o", file)
    said = await asyncio.to_thread(wherry, own_master, "ca", "rotate")
    assert "done; copies of admin.kubeconfig" in said
    assert KubeConfig(Path(file)).client().request("GET", "/api/v1/nodes")[0] == 200
    wherry(own_master, "node", "revoke", "n1")
    past = base64.b64encode(b"2020-01-01T00:00:00Z").decode()
    record = f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME_PREFIX}mia"
    own_master.admin().json("PATCH", record, {"data": {EXPIRES: past}})
    await machine.until(lambda: not machine.stream.connected)
    said = await asyncio.to_thread(wherry, own_master, "ca", "rotate", "--timeout", "5")
    assert "done" in said, "neither a revoked node nor an expired kubeconfig is waited for"


@pytest.mark.parametrize("until", ["begin", "start"])
async def test_who_was_left_behind_comes_back_by_a_new_token(
    own_master: RunningMaster, tmp_path: Path, until: str
) -> None:
    """One that was away all the time, and one that trusts both authorities and has not renewed."""
    machine = await asyncio.to_thread(Machine, own_master, tmp_path)
    former = machine.held.current
    await connected_once(machine)
    if until == "begin":
        own_master.admin().json("POST", "/rotation/begin")
        await connected_once(machine, lambda: machine.held.current.ca.count(b"BEGIN") == 2)
        machine.held.replace(
            replace(machine.held.current, certificate=former.certificate, key=former.key)
        )
    await asyncio.to_thread(wherry, own_master, "ca", "rotate", "--force", "--timeout", "0")
    running = asyncio.create_task(machine.run())
    machine.token.write_text(wherry(own_master, "token", "create"))
    await machine.until(lambda: machine.stream.connected)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def connected_once(machine: Machine, told: Callable[[], bool] = lambda: True) -> None:
    """The machine has a stream, is told something there, and has it no longer."""
    running = asyncio.create_task(machine.run())
    await machine.until(lambda: machine.stream.connected and told())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_rotation_is_for_administrators(
    own_master: RunningMaster, machine: Machine
) -> None:
    own = machine.held.current
    pair = KeyPair(own.certificate, own.key)
    for method, path in (("GET", "/rotation"), ("GET", "/%72otation"), ("POST", "/rotation/begin")):
        assert own_master.client(certificate=pair).request(method, path)[0] == 403, path
    status, body = own_master.admin().request("POST", "/rotation/finish")
    assert (status, json.loads(body)["message"]) == (
        409,
        "the next step of the rotation is begin, not finish",
    )
