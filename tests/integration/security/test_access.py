"""Who gets in and what they may do: rows G1, G4, G6, G8, and F6 over the wire."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import subprocess
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.client.grpc import channel
from common.client.https import ConnectionFailed
from common.runtime.clock import SystemClock
from common.security.ca import CLIENT, SERVER, CertificateAuthority, Leaf
from master.apiserver.rest.openapi.operations import path_of
from node.session import join
from node.session.credentials import load
from protos import node_v1_pb2, node_v1_pb2_grpc
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
# A refused handshake is tried again until the call has no time left.
REFUSED_BY_TLS = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
PUBLIC = ("/livez", "/readyz", "/version", "/cacerts")


def routes() -> list[tuple[str, str]]:
    """(method, path) of every route, from the scheme itself."""
    found = [("GET", p) for p in ("/", "/api", "/apis", "/openapi/v3", "/api/v1", "/healthz", "/x")]
    for resource in SCHEME.resources():
        base = "/" + path_of(resource)
        space = "/namespaces/default" if resource.namespaced else ""
        collection = f"{base}{space}/{resource.plural}"
        found += [(method, collection) for method in ("GET", "POST", "DELETE")]
        found += [(method, f"{collection}/x") for method in ("GET", "PUT", "PATCH", "DELETE")]
        found += [
            (method, f"{collection}/x/{sub.name}")
            for sub in resource.subresources
            for method in ("GET", "POST", "PUT", "PATCH")
        ]
    return found


def test_nothing_without_credentials(master: RunningMaster) -> None:
    """G1: every route answers 401 without credentials, but four."""
    anybody, wrong = master.client(), master.client(bearer="abcdef.nonsense")
    for path in PUBLIC:
        assert anybody.request("GET", path)[0] == 200, path
    for method, path in routes():
        assert anybody.request(method, path, b"{}")[0] == 401, (method, path)
    assert wrong.request("GET", "/api/v1/pods")[0] == 401


async def test_grpc_needs_a_node(master: RunningMaster) -> None:
    """G1: the nodes' port refuses connections without a certificate, and callers without a node."""
    ca = master.kubeconfig.ca_pem
    admin = master.client_ca().issue_client("admin", organizations=("system:masters",))
    cases = [
        (grpc.ssl_channel_credentials(ca), REFUSED_BY_TLS),
        (
            grpc.ssl_channel_credentials(ca, admin.key_pem, admin.certificate_pem),
            {grpc.StatusCode.PERMISSION_DENIED},
        ),
    ]
    for credentials, expected in cases:
        target = f"127.0.0.1:{master.node_port}"
        async with grpc.aio.secure_channel(target, credentials) as channel:
            stub = node_v1_pb2_grpc.NodeServiceStub(channel)
            for call, first in (
                (stub.Control, node_v1_pb2.FromNode()),
                (stub.Session, node_v1_pb2.SessionFrame()),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    async for _ in call(iter([first]), timeout=15):
                        pass
                assert refused.value.code() in expected, (call, refused.value)


def test_foreign_and_expired_certificates(master: RunningMaster) -> None:
    """Certificates of another authority, of servers, or past their end are refused."""
    foreign = CertificateAuthority.create("other", SystemClock())
    own = master.client_ca()
    masters = ("system:masters",)
    for certificate in (
        foreign.issue_client("admin", organizations=masters),
        own.issue(Leaf(common_name="admin", organizations=masters, usages=(SERVER,))),
        own.issue(
            Leaf(
                common_name="admin",
                organizations=masters,
                usages=(CLIENT,),
                lifetime=timedelta(seconds=-60),
            )
        ),
    ):
        try:
            status, _ = master.client(certificate=certificate).request("GET", "/api/v1/pods")
        except ConnectionFailed:
            continue
        assert status == 401
    tricky = own.issue_client("n1,O=system:masters")
    assert master.client(certificate=tricky).request("GET", "/api/v1/pods")[0] == 403


def make_pod(master: RunningMaster, name: str, node: str) -> None:
    """A pod that is bound to a node."""
    container = {
        "name": "c",
        "image": "x",
        "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": f"secret-{node}", "key": "k"}}}
        ],
    }
    body = {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [container]}}
    master.admin().json("POST", "/api/v1/namespaces/default/pods", body)


@pytest.fixture(scope="module")
def two_nodes(master: RunningMaster) -> RunningMaster:
    """Nodes a and b, each with a pod."""
    for node in ("a", "b"):
        master.admin().json("POST", "/api/v1/nodes", {"metadata": {"name": node}})
        make_pod(master, f"pod-{node}", node)
    return master


def test_a_node_has_only_its_own(two_nodes: RunningMaster) -> None:
    """G4, G6: node a may touch its Node, pods and Lease; nothing of b, and nothing else."""
    node_a = two_nodes.client(certificate=two_nodes.node_certificate("a"))
    pods, nodes = "/api/v1/namespaces/default/pods", "/api/v1/nodes"
    assert node_a.request("GET", f"{nodes}/a")[0] == 200
    assert node_a.request("GET", f"{pods}/pod-a")[0] == 200
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    binding = json.dumps({"metadata": {"name": "pod-b"}, "target": {"name": "a"}}).encode()
    denied = [
        ("GET", f"{nodes}/b", b""),
        ("GET", nodes, b""),
        ("POST", nodes, b'{"metadata":{"name":"c"}}'),
        ("PUT", f"{nodes}/b/status", b"{}"),
        ("PUT", f"{nodes}/a", b"{}"),
        ("DELETE", f"{nodes}/a", b""),
        ("GET", pods, b""),
        ("GET", f"{pods}/pod-b", b""),
        ("PUT", f"{pods}/pod-b/status", b"{}"),
        ("DELETE", f"{pods}/pod-b", b""),
        ("POST", f"{pods}/pod-b/binding", binding),
        ("POST", pods, b"{}"),
        ("GET", f"{leases}/b", b""),
        ("PUT", f"{leases}/b", b"{}"),
        ("GET", "/api/v1/namespaces/default/secrets/secret-b", b""),
        ("GET", "/api/v1/secrets", b""),
        ("GET", "/apis/apps/v1/deployments", b""),
    ]
    for method, path, body in denied:
        status, answer = node_a.request(method, path, body or None)
        assert status == 403, (method, path, answer)


OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}
TAINT = {"key": "k", "effect": "NoExecute"}
CONFIG = {"configMap": {"name": "x", "namespace": "default", "kubeletConfigKey": "k"}}
RESTRICTED = "node-restriction.kubernetes.io/tier"
RIGHTS = "wherry.dev/certificate"


def own(node: Any) -> tuple[Any, Any]:
    """What of a Node is nobody's but the master's and its administrator's."""
    written = ("resourceVersion", "managedFields")
    return {k: v for k, v in node["metadata"].items() if k not in written}, node["spec"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"metadata": {"labels": {RESTRICTED: "secret"}}}, f"modify labels: {RESTRICTED}"),
        ({"metadata": {"annotations": {RIGHTS: "1"}}}, f"modify annotations: {RIGHTS}"),
        ({"metadata": {"finalizers": ["example.com/x"]}}, "is not allowed to modify finalizers"),
        ({"metadata": {"ownerReferences": [OWNER]}}, "is not allowed to modify ownerReferences"),
        ({"spec": {"taints": [TAINT]}}, "is not allowed to modify taints"),
        ({"spec": {"configSource": CONFIG}}, "update configSource to a new non-nil configSource"),
        ({"spec": {"unschedulable": True}}, ""),
        ({"spec": {"providerID": "x://y"}}, ""),
    ],
    ids=str,
)
def test_a_node_changes_little_of_its_node_but_the_status(
    two_nodes: RunningMaster, change: dict[str, Any], why: str
) -> None:
    """G6: what is written beside a status is refused, or is as if it had not been sent."""
    admin, path = two_nodes.admin(), "/api/v1/nodes/a"
    node_a = two_nodes.client(certificate=two_nodes.node_certificate("a"))
    before = admin.json("GET", path)
    [(part, fields)] = change.items()
    changed = {**before, part: {**before[part], **fields}}
    for method, body in (("PATCH", change), ("PUT", changed)):
        assert node_a.request(method, path, json.dumps(body).encode())[0] == 403
        status, answer = node_a.request(method, f"{path}/status", json.dumps(body).encode())
        assert status == (403 if why else 200)
        assert why in json.loads(answer).get("message", "")
        assert own(admin.json("GET", path)) == own(before)
    capacity = {"status": {"capacity": {"example.com/thing": "1"}}}
    assert node_a.request("PATCH", f"{path}/status", json.dumps(capacity).encode())[0] == 200


def test_a_node_labels_and_annotates_its_node(two_nodes: RunningMaster) -> None:
    """With a status, as in Kubernetes; not with what says where pods and rights go."""
    path = "/api/v1/nodes/b"
    node_b = two_nodes.client(certificate=two_nodes.node_certificate("b"))
    own_label = "topology.kubernetes.io/zone"
    for value in ("x", "y", None):
        change = {"labels": {"plain": value, own_label: value}, "annotations": {"plain": value}}
        body = json.dumps({"metadata": change}).encode()
        assert node_b.request("PATCH", f"{path}/status", body)[0] == 200
        meta = two_nodes.admin().json("GET", path)["metadata"]
        assert meta.get("labels", {}).get("plain") == value
        assert meta.get("labels", {}).get(own_label) == value
        assert meta.get("annotations", {}).get("plain") == value


async def test_a_node_says_little_of_itself_when_it_joins(master: RunningMaster) -> None:
    """G6: not who owns it, what it is spared, or that it is another; nor when it comes back."""
    node = {
        "metadata": {
            "name": "another",
            "labels": {"node-restriction.kubernetes.io/tier": "secret", "plain": "x"},
            "annotations": {"plain": "x"},
            "finalizers": ["example.com/x"],
            "ownerReferences": [OWNER],
        },
        "spec": {"taints": [TAINT], "unschedulable": True, "providerID": "x://y"},
    }
    hello = node_v1_pb2.Hello(node_name="joins", node=json.dumps(node).encode())
    async with channel(master.with_certificate(master.node_certificate("joins"))) as opened:
        for _ in ("joins", "comes back"):
            call = node_v1_pb2_grpc.NodeServiceStub(opened).Control()
            await call.write(node_v1_pb2.FromNode(hello=hello))
            assert (await call.read()).WhichOneof("message") == "welcome"
            call.cancel()
            metadata, spec = own(master.admin().json("GET", "/api/v1/nodes/joins"))
            assert metadata["labels"] == {"plain": "x"}
            assert all(name.startswith("wherry.dev/") for name in metadata["annotations"])
            assert not {"finalizers", "ownerReferences"} & set(metadata)
            assert set(spec) <= {"podCIDR", "podCIDRs", "taints"}
            assert TAINT["key"] not in [one["key"] for one in spec.get("taints", ())]
    assert master.admin().request("GET", "/api/v1/nodes/another")[0] == 404


def token_secret(master: RunningMaster, bearer: str) -> str:
    """Path of the Secret that keeps a token."""
    return f"/api/v1/namespaces/kube-system/secrets/join-token-{bearer[:6]}"


def wherry(master: RunningMaster, *arguments: str) -> str:
    """Run the `wherry` command as an administrator."""
    import sys

    kubeconfig = str(master.directory / "data/admin.kubeconfig")
    code = "from common.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--kubeconfig", kubeconfig, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_join_tokens(master: RunningMaster) -> None:
    """G8: wrong, expired and revoked tokens are refused; only the id is ever logged."""
    text = wherry(master, "token", "create", "--ttl", "1h")
    bearer = text.split("::")[1]
    requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    joiner = master.client(bearer=bearer)
    assert joiner.request("GET", f"{requests}/none")[0] == 404
    assert joiner.request("GET", requests)[0] == 403
    assert joiner.request("GET", "/api/v1/pods")[0] == 403
    stored = master.admin().json("GET", token_secret(master, bearer))
    assert bearer[7:] not in json.dumps(stored)
    assert bearer[7:] not in base64.b64decode(stored["data"]["hash"]).decode()
    wrong_secret = bearer[:7] + "a" * 26
    wrong_id = ("zzzzzz" if bearer[:6] != "zzzzzz" else "yyyyyy") + bearer[6:]
    for wrong in (wrong_secret, wrong_id, bearer + "x", bearer[:-1]):
        assert master.client(bearer=wrong).request("GET", f"{requests}/none")[0] == 401, wrong
    assert bearer[:6] in wherry(master, "token", "list")
    wherry(master, "token", "delete", bearer[:6])
    assert joiner.request("GET", f"{requests}/none")[0] == 401
    expired = wherry(master, "token", "create", "--ttl", "0s").split("::")[1]
    assert master.client(bearer=expired).request("GET", f"{requests}/none")[0] == 401
    assert bearer[7:] not in master.log.read_text()
    guess = master.client(bearer="aaaaaa." + "b" * 26)
    answers = {guess.request("GET", "/api/v1/pods")[0] for _ in range(60)}
    assert answers == {401, 429}
    token = (master.directory / "data/admin.token").read_text().strip()
    rightful = master.client(bearer=token)
    assert rightful.request("GET", "/api/v1/pods")[0] == 200, "only the wrong ones are slowed down"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/pods/..",
        "/api/v1/namespaces/default/pods/%2e%2e",
        "/api/v1/namespaces/default/pods/a%2fb",
        "/api/v1/namespaces/%2e%2e/pods",
        "/api/v1/namespaces/default/pods/a%00b",
        "/api/v1/namespaces/default/pods/" + "a" * 300,
        "/api/v1/namespaces/default/pods/%ff",
        "/api/v1/namespaces/a%2fb/pods/x",
        "/api/v1/nodes/../secrets",
    ],
)
def test_paths_that_lead_elsewhere(master: RunningMaster, path: str) -> None:
    """F6: no spelling of a path reaches another object, and none is a 5xx."""
    admin = master.client_ca().issue_client("admin", organizations=("system:masters",))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", master.port, context=master.context(admin), timeout=10
    )
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in (400, 404, 422), (path, body)


def test_errors_are_kubernetes_own(master: RunningMaster) -> None:
    """Bad bodies are 4xx with a Status that says what is wrong, never 5xx."""
    admin = master.admin()
    pods = "/api/v1/namespaces/default/pods"
    for body in (
        b"",
        b"[]",
        b"{",
        b"null",
        b'"x"',
        b"[" * 100_000,
        b'{"spec":{"containers":1}}',
        b'{"metadata":{"name":"\\ud800"}}',
        b"\xff\xfe",
        b'{"apiVersion":"v1","kind":"X"}',
    ):
        status, answer = admin.request("POST", pods, body or b" ")
        assert 400 <= status < 500, (body[:40], answer)
        assert json.loads(answer)["kind"] == "Status"
    with pytest.raises(StatusError) as refused:
        admin.json("POST", pods, {"metadata": {"name": "Bad_Name"}, "spec": {"containers": []}})
    assert refused.value.code == 422
    assert "metadata.name" in refused.value.message
    assert "spec.containers: Required value" in refused.value.message
    status, _ = admin.request("POST", pods, b'{"data":"' + b"a" * (3 << 20) + b'"}')
    assert status == 413


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("DELETE", "/configmaps/a", b'{"preconditions":5}', 400),
        ("DELETE", "/configmaps/a", b'{"gracePeriodSeconds":"x"}', 400),
        ("DELETE", "/configmaps/a?gracePeriodSeconds=x", b"", 400),
        ("DELETE", "/configmaps/a", b'{"preconditions":{"uid":"other"}}', 409),
        ("DELETE", "/configmaps/a", b'{"propagationPolicy":"X"}', 422),
        ("GET", "/configmaps?limit=-1", b"", 400),
        ("GET", "/configmaps?continue=zzz", b"", 400),
        ("GET", "/configmaps?resourceVersion=abc", b"", 400),
        ("GET", "/configmaps?labelSelector=(((", b"", 400),
        ("GET", "/configmaps?fieldSelector=spec.x%3D1", b"", 400),
        ("GET", "/configmaps?watch=1&timeoutSeconds=x", b"", 400),
        ("POST", "/configmaps?dryRun=Some", b"{}", 422),
        ("PUT", "/configmaps/a", b'{"metadata":{"name":"b"}}', 400),
        ("PUT", "/configmaps/a", b'{"metadata":{"name":"a","resourceVersion":"1"}}', 409),
        ("POST", "/pods/x/exec", b"", 404),
    ],
)
def test_options_that_make_no_sense(
    master: RunningMaster, method: str, path: str, body: bytes, expected: int
) -> None:
    """Queries and options of every kind of wrong have an answer of their own."""
    admin, base = master.admin(), "/api/v1/namespaces/default"
    admin.request("POST", f"{base}/configmaps", b'{"metadata":{"name":"a"}}')
    status, answer = admin.request(method, base + path, body or None)
    assert status == expected, answer
    assert admin.request("POST", "/api/v1/events", b'{"metadata":{"name":"e"}}')[0] == 405


async def test_a_deleted_node_has_no_rights_any_more(master: RunningMaster) -> None:
    """G11: its stream and its watches end within five seconds, and its certificate is refused."""
    own = master.node_certificate("gone")
    async with channel(master.with_certificate(own)) as opened:
        stub = node_v1_pb2_grpc.NodeServiceStub(opened)

        async def messages() -> AsyncIterator[node_v1_pb2.FromNode]:
            node = b'{"metadata":{"name":"gone"}}'
            yield node_v1_pb2.FromNode(hello=node_v1_pb2.Hello(node_name="gone", node=node))
            await asyncio.Event().wait()

        call = stub.Control(messages())
        while (await call.read()).WhichOneof("message") != "synced":
            pass
        client = master.client(certificate=own)
        assert client.request("GET", "/api/v1/nodes/gone")[0] == 200
        master.admin().json("DELETE", "/api/v1/nodes/gone")
        async with asyncio.timeout(5):
            while await call.read() is not grpc.aio.EOF:
                pass
        assert client.request("GET", "/api/v1/nodes/gone")[0] == 401
        again = stub.Control(messages())
        with pytest.raises(grpc.aio.AioRpcError, match="a Node that was deleted"):
            await again.read()


def test_a_token_used_again_does_not_take_over_a_node(
    master: RunningMaster, tmp_path: Path
) -> None:
    """G8, S of its pods: another machine is refused while the Node lives."""
    token = tmp_path / "token"
    token.write_text(wherry(master, "token", "create", "--uses", "3"))

    def join_as(machine: str, directory: str) -> None:
        made = join.Machine("taken", machine)
        join.join(tmp_path / directory, master.url, str(token), made, lambda: time.sleep(0.1))

    join_as("m1", "first")
    joined = load(tmp_path / "first")
    assert joined is not None
    assert joined.node_port == master.node_port, "which is no default here"
    admin = master.admin()
    node = {"metadata": {"name": "taken"}, "status": {"nodeInfo": {"machineID": "m1"}}}
    made = admin.json("POST", "/api/v1/nodes", node)
    made["status"]["nodeInfo"] = node["status"]["nodeInfo"]
    admin.json("PUT", "/api/v1/nodes/taken/status", made)
    with pytest.raises(join.JoinFailed, match="is another machine"):
        join_as("m2", "second")
    join_as("m1", "third")
    join_as("m1", "fourth")
    with pytest.raises(join.JoinFailed, match="as often as it may be"):
        join_as("m1", "fifth")
