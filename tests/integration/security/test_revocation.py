"""Certificates that are valid and count no longer: of kubeconfigs, nodes, copies (G11, G12)."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import grpc
import pytest

from common.api import times
from common.api.errors import StatusError
from common.client.grpc import GrpcClient, Settings, channel
from common.client.https import KubeConfig
from common.security.ca import KeyPair
from common.security.csr import make_key, make_request
from common.security.validity import validity
from protos import node_v1_pb2, node_v1_pb2_grpc
from tests.e2e.cluster import kubectls
from tests.integration.security.test_access import wherry
from tests.integration.security.test_answers import until
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
ENDS_WITHIN_SECONDS = 5.0
WAIT_SECONDS = 60.0
"""For what nobody has promised to be fast."""


def kubeconfig(master: RunningMaster, directory: Path, name: str, *more: str) -> KubeConfig:
    """One that was made for somebody."""
    file = directory / f"{name}.kubeconfig"
    said = wherry(master, "kubeconfig", "create", name, "--output", str(file), *more)
    assert f"kubeconfig {name} in {file}, valid until 2" in said
    assert file.stat().st_mode & 0o777 == 0o600
    return KubeConfig(file)


def refused(master: RunningMaster, *arguments: str) -> str:
    """What the `wherry` command says when it does not do it."""
    with pytest.raises(subprocess.CalledProcessError) as error:
        wherry(master, *arguments)
    said = str(error.value.stderr)
    assert said.count("\n") == 1, "one line"
    return said


def test_a_kubeconfig_counts_until_it_is_revoked(master: RunningMaster, tmp_path: Path) -> None:
    config = kubeconfig(master, tmp_path, "mia", "--lifetime", "2d")
    client = config.client()
    assert client.request("GET", "/api/v1/nodes")[0] == 200
    assert config.grpc_port == master.node_port
    [line] = [one for one in wherry(master, "kubeconfig", "list").splitlines() if "mia" in one]
    assert line.split()[2:] == ["system:masters"]
    assert "kubeconfig mia" in wherry(master, "certs")
    own = wherry(master, "--kubeconfig", str(tmp_path / "mia.kubeconfig"), "certs")
    [line] = [one for one in own.splitlines() if one.startswith("this kubeconfig ")]
    assert line.endswith("wherry kubeconfig create")
    assert "there is a kubeconfig mia already" in refused(master, "kubeconfig", "create", "mia")
    assert wherry(master, "kubeconfig", "revoke", "mia") == "kubeconfig mia revoked"
    status, body = client.request("GET", "/api/v1/nodes")
    assert status == 401
    assert json.loads(body)["message"] == "the kubeconfig mia was revoked"
    assert "there is no kubeconfig mia" in refused(master, "kubeconfig", "revoke", "mia")
    again = kubeconfig(master, tmp_path, "mia").client()
    assert again.request("GET", "/api/v1/nodes")[0] == 200
    status, body = client.request("GET", "/api/v1/nodes")
    assert json.loads(body)["message"] == "the kubeconfig mia was revoked, and made again"


def test_a_client_whose_request_was_approved_counts_until_it_is_revoked(
    master: RunningMaster,
) -> None:
    """The documented way of Kubernetes: a request, `kubectl certificate approve`, a certificate."""
    key = make_key()
    spec = {
        "request": base64.b64encode(make_request(key, "noa", ["viewers"])).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
        "expirationSeconds": 3600,
    }
    admin = ("--kubeconfig", str(master.directory / "data/admin.kubeconfig"))

    def kubectl(*arguments: str, text: str = "") -> str:
        command = [str(kubectls()[0]), *admin, *arguments]
        return subprocess.run(
            command, input=text, check=True, text=True, capture_output=True, timeout=60
        ).stdout

    request = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "noa"},
        "spec": spec,
    }
    kubectl("create", "-f", "-", text=json.dumps(request))
    assert kubectl("get", "csr", "noa", "-o", "jsonpath={.status}") == "{}"
    assert "approved" in kubectl("certificate", "approve", "noa")
    kubectl("wait", "csr/noa", "--for=jsonpath={.status.certificate}", "--timeout=60s")
    pem = base64.b64decode(kubectl("get", "csr", "noa", "-o", "jsonpath={.status.certificate}"))
    assert "Approved,Issued" in kubectl("get", "csr", "noa")
    client = master.client(certificate=KeyPair(pem, key))
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    status, answer = client.request("POST", path, body.encode())
    user = json.loads(answer)["status"]["userInfo"]
    assert (status, user["username"], "viewers" in user["groups"]) == (201, "noa", True)
    assert any(line.startswith("noa ") for line in wherry(master, "kubeconfig", "list").split("\n"))
    assert wherry(master, "kubeconfig", "revoke", "noa") == "kubeconfig noa revoked"
    assert client.request("POST", path, body.encode())[0] == 401


def test_what_is_said_of_a_kubeconfigs_end_is_true(master: RunningMaster, tmp_path: Path) -> None:
    """Nobody renews it, and it does not outlive its authority."""
    config = kubeconfig(master, tmp_path, "long", "--lifetime", "3650d")
    assert config.certificate is not None
    until = times.to_time(validity(config.certificate.certificate_pem).expires)
    [line] = [one for one in wherry(master, "kubeconfig", "list").splitlines() if "long" in one]
    assert line.split()[1] == until
    file = str(tmp_path / "long.kubeconfig")
    said = [one.split() for one in wherry(master, "--kubeconfig", file, "certs").splitlines()]
    assert ["this", "kubeconfig", until, "wherry", "kubeconfig", "create"] in said


def test_a_revoked_kubeconfig_acts_as_nobody_else(master: RunningMaster, tmp_path: Path) -> None:
    config = kubeconfig(master, tmp_path, "actor")
    headers = {"Impersonate-User": "x", "Impersonate-Group": "system:masters"}

    def ask() -> tuple[int, str]:
        with closing(master.connection(config.certificate)) as connection:
            connection.request("GET", "/api/v1/secrets", headers=headers)
            answer = connection.getresponse()
            return answer.status, json.load(answer).get("message", "")

    assert ask() == (200, "")
    wherry(master, "kubeconfig", "revoke", "actor")
    assert ask() == (401, "the kubeconfig actor was revoked")


def test_a_kubeconfig_that_nobody_gets_does_not_count(master: RunningMaster) -> None:
    """Ctrl-C while it is printed to somebody who does not read."""
    record = "/api/v1/namespaces/kube-system/secrets/kubeconfig-hasty"
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    code = "from common.cli.main import main; main()"
    config = str(master.directory / "data/admin.kubeconfig")
    command = [sys.executable, "-c", code, "--kubeconfig", config, "kubeconfig", "create", "hasty"]
    creating = subprocess.Popen(command, stdout=writing)
    os.close(writing)
    try:
        until(lambda: master.admin().request("GET", record)[0] == 200)
        creating.send_signal(signal.SIGINT)
        until(lambda: master.admin().request("GET", record)[0] == 404)
    finally:
        os.close(reading)
        creating.wait(WAIT_SECONDS)
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    requests = master.admin().json("GET", path)["items"]
    assert not [one for one in requests if "hasty" in one["metadata"]["name"]]


def test_a_group_says_what_it_may_do(master: RunningMaster, tmp_path: Path) -> None:
    client = kubeconfig(master, tmp_path, "nobody", "--group", "readers").client()
    status, body = client.request("GET", "/api/v1/nodes")
    assert (status, json.loads(body)["reason"]) == (403, "Forbidden")


def test_who_is_no_administrator_makes_none(master: RunningMaster, tmp_path: Path) -> None:
    own = master.node_certificate("maker")
    request = {
        "metadata": {"name": "theft"},
        "spec": {"request": "", "signerName": "wherry.dev/kubeconfig", "usages": ["client auth"]},
    }
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    data = json.dumps(request).encode()
    assert master.client(certificate=own).request("POST", path, data)[0] == 401


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "Mia"), "is not a lower case name"),
        (("create", "mia", "--lifetime", "5m"), "less than ten minutes"),
        (("create", "mia", "--lifetime", "forever"), "is not a duration"),
        (("create", "ina", "--output", "/nowhere/file"), "cannot write /nowhere/file"),
    ],
)
def test_what_makes_no_sense_is_said(
    master: RunningMaster, arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        wherry(master, "kubeconfig", *arguments)
    assert said in str(error.value.stderr)
    assert " ina " not in wherry(master, "kubeconfig", "list")


def test_a_watch_over_http_ends_with_its_kubeconfig(master: RunningMaster, tmp_path: Path) -> None:
    config = kubeconfig(master, tmp_path, "watcher")
    context = master.context(config.certificate)
    connection = http.client.HTTPSConnection(
        "127.0.0.1", master.port, context=context, timeout=ENDS_WITHIN_SECONDS
    )
    connection.request("GET", "/api/v1/namespaces?watch=1")
    answer = connection.getresponse()
    assert answer.readline()
    wherry(master, "kubeconfig", "revoke", "watcher")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()


async def test_a_watch_over_grpc_ends_with_its_kubeconfig(
    master: RunningMaster, tmp_path: Path
) -> None:
    config = kubeconfig(master, tmp_path, "operator")
    target = f"127.0.0.1:{master.node_port}"
    opened = channel(Settings(target, config.ca_pem, config.certificate))
    client = GrpcClient(opened)
    events = client.watch(client.resource("namespaces"))
    await anext(events)
    await asyncio.to_thread(wherry, master, "kubeconfig", "revoke", "operator")
    async with asyncio.timeout(ENDS_WITHIN_SECONDS):
        with pytest.raises(StatusError, match="was revoked") as error:
            async for _ in events:
                pass
    assert error.value.code == 401
    await opened.close()


class Node:
    """A machine that holds a control stream by a certificate."""

    def __init__(self, master: RunningMaster, name: str, own: KeyPair) -> None:
        self.name = name
        self._channel = channel(master.with_certificate(own))

    async def connect(self, machine: str = "m1", boot: str = "b1") -> grpc.aio.StreamStreamCall:
        """A stream on which everything has been told."""
        info = {"nodeInfo": {"machineID": machine}}
        node = json.dumps({"metadata": {"name": self.name}, "status": info}).encode()
        hello = node_v1_pb2.Hello(node_name=self.name, node=node, machine_id=machine, boot_id=boot)

        async def messages() -> AsyncIterator[node_v1_pb2.FromNode]:
            yield node_v1_pb2.FromNode(hello=hello)
            await asyncio.Event().wait()

        call = self.stub().Control(messages())
        while (message := await call.read()).WhichOneof("message") != "synced":
            if message.WhichOneof("message") == "trust":
                assert message.trust.authorities.startswith(b"-----BEGIN CERTIFICATE")
                assert not message.trust.renew
        return call

    def stub(self) -> node_v1_pb2_grpc.NodeServiceStub:
        return node_v1_pb2_grpc.NodeServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()


@pytest.fixture
async def node(master: RunningMaster) -> AsyncIterator[Node]:
    made = Node(master, "n1", master.node_certificate("n1"))
    yield made
    await made.close()
    master.admin().request("DELETE", "/api/v1/nodes/n1")
    master._of_nodes.pop("n1")


def running_pod(master: RunningMaster, name: str, node: str) -> str:
    """The path of a pod that a node has said to be running."""
    admin, pods = master.admin(), "/api/v1/namespaces/default/pods"
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "x"}]}
    made = admin.json("POST", pods, {"metadata": {"name": name}, "spec": spec})
    state = {"running": {"startedAt": "2030-01-01T00:00:00Z"}}
    running = {"name": "c", "ready": True, "restartCount": 0, "image": "x", "imageID": ""}
    status = {"phase": "Running", "containerStatuses": [{**running, "state": state}]}
    admin.json("PUT", f"{pods}/{name}/status", {**made, "status": status})
    return f"{pods}/{name}"


async def asked(call: grpc.aio.StreamStreamCall) -> str:
    """The id of the session that a node is asked for next."""
    while (message := await call.read()).WhichOneof("message") != "session":
        pass
    return str(message.session.id)


async def ended(call: grpc.aio.StreamStreamCall) -> None:
    """Wait until the master has ended a stream."""
    async with asyncio.timeout(ENDS_WITHIN_SECONDS):
        while await call.read() is not grpc.aio.EOF:
            pass


async def test_a_revoked_node_is_out_within_seconds(master: RunningMaster, node: Node) -> None:
    call = await node.connect()
    client = master.client(certificate=master.node_certificate("n1"))
    assert client.request("GET", "/api/v1/nodes/n1")[0] == 200
    assert "node n1 revoked" in await asyncio.to_thread(wherry, master, "node", "revoke", "n1")
    await ended(call)
    assert client.request("GET", "/api/v1/nodes/n1")[0] == 401
    with pytest.raises(grpc.aio.AioRpcError, match="was revoked") as error:
        await node.connect()
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    [line] = [one for one in wherry(master, "certs").splitlines() if "node n1" in one]
    assert line.endswith("revoked")
    assert "there is no node other" in refused(master, "node", "revoke", "other")


async def test_a_log_that_is_followed_ends_with_the_rights_of_its_node(
    master: RunningMaster, node: Node
) -> None:
    call = await node.connect()
    path = running_pod(master, "p", "n1")
    with closing(master.connection(master.kubeconfig.certificate)) as connection:
        connection.request("GET", f"{path}/log?follow=true")
        session = node.stub().Session()
        await session.write(node_v1_pb2.SessionFrame(id=await asked(call)))
        await session.write(node_v1_pb2.SessionFrame(data=b"first\n"))
        answer = await asyncio.to_thread(connection.getresponse)
        assert await asyncio.to_thread(answer.readline) == b"first\n"
        await asyncio.to_thread(wherry, master, "node", "revoke", "n1")
        with pytest.raises(grpc.aio.AioRpcError, match="was revoked"):
            await ended(session)
    master.admin().request("DELETE", f"{path}?gracePeriodSeconds=0")


async def test_a_copy_on_another_machine_is_refused_with_an_event(
    master: RunningMaster, node: Node
) -> None:
    call = await node.connect()
    with pytest.raises(grpc.aio.AioRpcError, match="is another machine") as error:
        await node.connect("m2", "b2")
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    query = "/api/v1/events?fieldSelector=reason%3DCopyRefused"
    async with asyncio.timeout(ENDS_WITHIN_SECONDS):
        while not (found := master.admin().json("GET", query)["items"]):
            await asyncio.sleep(0.05)
    [event] = found
    assert event["involvedObject"]["name"] == "n1"
    assert "machine m2 at 127.0.0.1" in event["message"]
    call.cancel()


async def test_another_boot_is_let_in_once_the_former_is_silent(
    master: RunningMaster, node: Node
) -> None:
    call = await node.connect()
    again = await node.connect()
    await ended(call)
    with pytest.raises(grpc.aio.AioRpcError, match="was not booted since") as error:
        await node.connect(boot="b2")
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    again.cancel()
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                rebooted = await node.connect(boot="b2")
                break
            except grpc.aio.AioRpcError as refusal:
                assert refusal.code() is grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0.05)
    rebooted.cancel()
