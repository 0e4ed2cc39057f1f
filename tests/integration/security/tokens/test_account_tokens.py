"""Tokens of service accounts on a running master: asked for with kubectl, shown, and ended."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import subprocess
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.api.types.authentication_v1 import TokenRequest
from common.api.types.core_v1 import Pod
from common.api.types.meta_v1 import ObjectMeta
from common.client.grpc import GrpcClient, channel
from master.apiserver.auth.accounttokens import ISSUER
from node.kubelet.volumes.tokens import request
from node.session.tokens import NoToken, ask
from tests.e2e.cluster import kubectls
from tests.integration.machine import Machine
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
PODS = SCHEME.require("", "v1", "pods")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
DEFAULT = "/api/v1/namespaces/default"


def kubectl(master: RunningMaster, *arguments: str) -> tuple[str, bool]:
    """(What kubectl prints for the administrator, whether it succeeds.)"""
    done = subprocess.run(
        [kubectls()[0], "--kubeconfig", master.directory / "data/admin.kubeconfig", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return (done.stdout + done.stderr).strip(), done.returncode == 0


def claims_of(token: str) -> dict[str, Any]:
    """What a token says."""
    text = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def test_kubectl_creates_a_token(master: RunningMaster) -> None:
    token, done = kubectl(master, "create", "token", "default", "--duration=20m")
    assert done, token
    claims = claims_of(token)
    assert claims["sub"] == "system:serviceaccount:default:default"
    assert claims["exp"] - claims["iat"] == 1200
    said, done = kubectl(master, "create", "token", "default", "--duration=5m")
    assert not done
    assert "may not specify a duration less than 10 minutes" in said
    said, done = kubectl(master, "create", "token", "nobody")
    assert not done
    assert 'serviceaccounts "nobody" not found' in said


def test_a_token_is_nowhere_but_in_its_answer(master: RunningMaster) -> None:
    """Neither the log nor the files of the master have it."""
    token, done = kubectl(master, "create", "token", "default")
    assert done
    signature = token.rpartition(".")[2].encode()
    files = [path for path in master.directory.rglob("*") if path.is_file()]
    assert master.log in files
    assert [path for path in files if signature in path.read_bytes()] == []


def created(master: RunningMaster, path: str, plain: dict[str, Any]) -> dict[str, Any]:
    """Create an object as the administrator."""
    status, body = master.admin().request("POST", path, json.dumps(plain).encode())
    assert status == 201, body
    found: dict[str, Any] = json.loads(body)
    return found


def account(master: RunningMaster, name: str) -> str:
    """A service account that may view the default namespace; answers a token of it."""
    created(master, f"{DEFAULT}/serviceaccounts", {"metadata": {"name": name}})
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    plain = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    created(master, f"{RBAC}/namespaces/default/rolebindings", plain)
    return token_of(master, name)


def pod(name: str) -> dict[str, Any]:
    """A pod that runs as the service account of its name."""
    containers = [{"name": "c", "image": "i"}]
    return {
        "metadata": {"name": name},
        "spec": {"serviceAccountName": name, "containers": containers},
    }


def token_of(master: RunningMaster, name: str, **spec: Any) -> str:
    """A token of a service account."""
    made = created(master, f"{DEFAULT}/serviceaccounts/{name}/token", {"spec": spec})
    return str(made["status"]["token"])


def status_of(master: RunningMaster, token: str, path: str = f"{DEFAULT}/pods") -> int:
    """What a request with a token is answered."""
    return master.client(bearer=token).request("GET", path)[0]


def delete(master: RunningMaster, path: str) -> None:
    """As the administrator."""
    status, body = master.admin().request("DELETE", path)
    assert status == 200, body


def test_an_account_may_what_its_roles_say(master: RunningMaster) -> None:
    token = account(master, "viewer")
    assert status_of(master, token) == 200
    assert status_of(master, token, f"{DEFAULT}/secrets") == 403
    assert status_of(master, token, "/api/v1/nodes") == 403
    body = b'{"metadata":{"name":"x"}}'
    client = master.client(bearer=token)
    assert client.request("POST", f"{DEFAULT}/configmaps", body)[0] == 403
    path = f"{AUTHENTICATION}/selfsubjectreviews"
    status, answer = client.request("POST", path, b"{}")
    assert status == 201
    user = json.loads(answer)["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:viewer"
    assert user["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]
    [credential] = user["extra"]["authentication.kubernetes.io/credential-id"]
    assert credential == f"JTI={claims_of(token)['jti']}"


def test_scripts_may_show_one(master: RunningMaster) -> None:
    """Over gRPC, where it is looked at with each call, too."""
    token = account(master, "script")
    assert asyncio.run(listed(master, token)) == grpc.StatusCode.OK
    delete(master, f"{DEFAULT}/serviceaccounts/script")
    assert asyncio.run(listed(master, token)) == grpc.StatusCode.UNAUTHENTICATED


async def listed(master: RunningMaster, token: str) -> grpc.StatusCode:
    """The code of a list of pods."""
    async with GrpcClient(channel(master.with_token(token))) as client:
        try:
            await client.list(PODS, "default")
        except StatusError as error:
            return grpc.StatusCode.UNAUTHENTICATED if error.code == 401 else grpc.StatusCode.UNKNOWN
    return grpc.StatusCode.OK


@pytest.mark.parametrize("kind", ["serviceaccounts", "secrets", "pods"])
def test_it_is_dead_when_what_it_is_bound_to_is_deleted(master: RunningMaster, kind: str) -> None:
    """G13: at once; and a new object of the same name does not wake it."""
    name = f"bound-{kind}"
    account(master, name)
    plain: dict[str, Any] = {"metadata": {"name": name}}
    spec: dict[str, Any] = {}
    if kind == "pods":
        plain = pod(name)
    if kind != "serviceaccounts":
        created(master, f"{DEFAULT}/{kind}", plain)
        ref = {"apiVersion": "v1", "kind": kind.title()[:-1], "name": name}
        spec["boundObjectRef"] = ref
    token = token_of(master, name, **spec)
    assert status_of(master, token) == 200
    delete(master, f"{DEFAULT}/{kind}/{name}?gracePeriodSeconds=0")
    assert status_of(master, token) == 401
    created(master, f"{DEFAULT}/{kind}", plain)
    assert status_of(master, token) == 401


def test_a_watch_ends_with_its_token(master: RunningMaster) -> None:
    token = account(master, "watcher")
    with closing(master.connection(None)) as connection:
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("GET", f"{DEFAULT}/pods?watch=true&timeoutSeconds=60", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        delete(master, f"{DEFAULT}/serviceaccounts/watcher")
        with pytest.raises(http.client.IncompleteRead):  # cut off, long before its 60 s
            answer.read()


def test_others_tokens_are_refused(master: RunningMaster) -> None:
    """G13: another audience, no signature, a key that is not the master's."""
    account(master, "other")
    other = token_of(master, "other", audiences=["vault"])
    assert status_of(master, other) == 401
    good = token_of(master, "other")
    head, claims, _ = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for token in (f"{none}.{claims}.", f"{head}.{claims}.", f"{head}.{claims}.{'A' * 86}"):
        assert status_of(master, token) == 401
    assert status_of(master, good) == 200


def review(master: RunningMaster, token: str, *audiences: str) -> dict[str, Any]:
    """The status of a TokenReview."""
    plain = {"spec": {"token": token, "audiences": audiences}}
    found: dict[str, Any] = created(master, f"{AUTHENTICATION}/tokenreviews", plain)["status"]
    return found


def test_whose_is_a_token(master: RunningMaster) -> None:
    """TokenReview: of accounts, of the administrator, and of nobody."""
    account(master, "reviewed")
    made = created(master, f"{DEFAULT}/pods", pod("reviewed"))
    ref = {"apiVersion": "v1", "kind": "Pod", "name": "reviewed", "uid": made["metadata"]["uid"]}
    token = token_of(master, "reviewed", boundObjectRef=ref)
    found = review(master, token)
    assert found["authenticated"]
    assert found["audiences"] == [ISSUER]
    assert found["user"]["username"] == "system:serviceaccount:default:reviewed"
    assert found["user"]["groups"][-1] == "system:authenticated"
    assert found["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["reviewed"]
    delete(master, f"{DEFAULT}/pods/reviewed?gracePeriodSeconds=0")
    why = "[invalid bearer token, service account token has been invalidated]"
    assert review(master, token) == {"user": {}, "error": why}
    assert review(master, "nonsense") == {"user": {}, "error": "invalid bearer token"}
    admin = (master.directory / "data/admin.token").read_text().strip()
    found = review(master, admin)
    assert (found["user"]["username"], found["audiences"]) == ("admin", [ISSUER])
    assert "authenticated" not in review(master, admin, "vault")
    path = f"{AUTHENTICATION}/tokenreviews"
    assert master.admin().request("POST", path, b'{"spec":{}}')[0] == 400


def test_a_review_names_the_audiences_that_fit(master: RunningMaster) -> None:
    account(master, "spread")
    token = token_of(master, "spread", audiences=["vault", "registry"])
    assert "authenticated" not in review(master, token)
    found = review(master, token, "registry", "other")
    assert (found["authenticated"], found["audiences"]) == (True, ["registry"])


def test_who_checks_tokens_itself_finds_the_key(master: RunningMaster) -> None:
    """OpenID Connect discovery, open to service accounts."""
    token = account(master, "discoverer")
    found = {}
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        with closing(master.connection(None)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            assert answer.status == 200
            found[path] = (answer.getheader("Content-Type"), json.loads(answer.read()))
            assert answer.getheader("Cache-Control") == "public, max-age=3600"
    kind, configuration = found["/.well-known/openid-configuration"]
    assert kind == "application/json"
    assert configuration == {
        "issuer": ISSUER,
        "jwks_uri": f"{master.url}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    kind, keys = found["/openid/v1/jwks"]
    assert kind == "application/jwk-set+json"
    header = token.split(".")[0]
    header = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    assert [key["kid"] for key in keys["keys"]] == [header["kid"]]
    assert master.client().request("GET", "/openid/v1/jwks")[0] == 401


async def test_a_node_asks_for_the_tokens_of_its_pods(
    master: RunningMaster, tmp_path: Path
) -> None:
    """G14: over its stream, and for no others."""
    machine = await asyncio.to_thread(Machine, master, tmp_path)
    running = asyncio.create_task(machine.run())
    try:
        await machine.until(lambda: machine.stream.connected)
        await asyncio.to_thread(account, master, "runner")
        uids = {}
        for name, node in (("here", "n1"), ("there", "n2")):
            plain = pod("runner")
            plain["metadata"]["name"], plain["spec"]["nodeName"] = name, node
            source = {"serviceAccountToken": {"path": "token"}}
            plain["spec"]["volumes"] = [{"name": "v", "projected": {"sources": [source]}}]
            made = await asyncio.to_thread(created, master, f"{DEFAULT}/pods", plain)
            uids[name] = made["metadata"]["uid"]

        def asked(name: str, account: str = "runner") -> Awaitable[bytes]:
            wanted = Pod(metadata=ObjectMeta(name=name, uid=uids[name]))
            body = codec.encode(request(wanted, ("", 3607)))
            return ask(machine.stream, "default", account, body)

        token = codec.decode(await asked("here"), TokenRequest).status.token
        assert claims_of(token)["kubernetes.io"]["node"]["name"] == "n1"
        assert await asyncio.to_thread(status_of, master, token) == 200
        with pytest.raises(NoToken, match="bound to a pod scheduled on a different node"):
            await asked("there")
        with pytest.raises(NoToken, match='cannot create resource "serviceaccounts/token"'):
            await asked("here", "default")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(NoToken, match="the master cannot be reached"):
        await asked("here")
