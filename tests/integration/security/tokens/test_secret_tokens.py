"""Secrets that hold the token of a service account: filled, shown, used and ended, with kubectl."""

from __future__ import annotations

import base64
import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from master.apiserver.auth.accounttokens import ISSUER
from tests.integration.security.test_access import wherry
from tests.integration.security.tokens.test_account_tokens import (
    DEFAULT,
    account,
    claims_of,
    created,
    delete,
    kubectl,
    review,
    status_of,
)
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
TYPE = "kubernetes.io/service-account-token"


def secret(name: str, account: str, **annotations: str) -> dict[str, Any]:
    """A Secret that asks for the token of a service account."""
    metadata = {"name": name, "annotations": {NAME: account} | annotations}
    return {"apiVersion": "v1", "kind": "Secret", "type": TYPE, "metadata": metadata}


def asked(master: RunningMaster, *arguments: str) -> str:
    """What kubectl prints; it must succeed."""
    said, done = kubectl(master, *arguments)
    assert done, said
    return said


def token_of(master: RunningMaster, name: str) -> str:
    """The token that a Secret holds, once it does."""
    asked(master, "wait", "--for=jsonpath={.data.token}", f"secret/{name}", "--timeout=30s")
    text = asked(master, "get", "secret", name, "-o", "jsonpath={.data.token}")
    return base64.b64decode(text).decode()


def applied(master: RunningMaster, tmp_path: Path, *objects: dict[str, Any]) -> tuple[str, bool]:
    """`kubectl apply` of these in this order."""
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return kubectl(master, "apply", "-f", str(file))


def test_kubectl_shows_the_token(master: RunningMaster, tmp_path: Path) -> None:
    """As the guide has it; the account and its Secret may come in one file."""
    robot = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    said, done = applied(master, tmp_path, robot, secret("robot-token", "robot"))
    assert done, said
    assert "Warning" not in said
    token = token_of(master, "robot-token")
    uid = asked(master, "get", "serviceaccount", "robot", "-o", "jsonpath={.metadata.uid}")
    assert claims_of(token) == {
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/secret.name": "robot-token",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": uid,
        "sub": "system:serviceaccount:default:robot",
    }
    said = asked(master, "describe", "secret", "robot-token")
    shown = [line.split() for line in said.splitlines()]
    authority = master.kubeconfig.ca_pem
    for line in (
        ["Annotations:", f"{NAME}:", "robot"],
        [f"{UID}:", uid],
        ["Type:", TYPE],
        ["token:", token],
        ["ca.crt:", str(len(authority)), "bytes"],
        ["namespace:", "7", "bytes"],
    ):
        assert line in shown
    text = asked(master, "get", "secret", "robot-token", "-o", r"jsonpath={.data.ca\.crt}")
    assert base64.b64decode(text) == authority
    text = asked(master, "get", "secret", "robot-token", "-o", "jsonpath={.data.namespace}")
    assert base64.b64decode(text) == b"default"


def test_it_may_what_its_account_may(master: RunningMaster) -> None:
    account(master, "worker")
    created(master, f"{DEFAULT}/secrets", secret("worker-token", "worker"))
    token = token_of(master, "worker-token")
    assert status_of(master, token) == 200
    assert status_of(master, token, f"{DEFAULT}/secrets") == 403
    answer = review(master, token)
    assert (answer["authenticated"], answer["audiences"]) == (True, [ISSUER])
    assert answer["user"]["username"] == "system:serviceaccount:default:worker"
    assert "authenticated" not in review(master, token, "vault")


def test_it_is_dead_when_its_secret_is_deleted(master: RunningMaster) -> None:
    """At once; and another Secret of that name has another token."""
    account(master, "held")
    created(master, f"{DEFAULT}/secrets", secret("held-token", "held"))
    token = token_of(master, "held-token")
    assert status_of(master, token) == 200
    delete(master, f"{DEFAULT}/secrets/held-token")
    assert status_of(master, token) == 401
    created(master, f"{DEFAULT}/secrets", secret("held-token", "held"))
    assert status_of(master, token_of(master, "held-token")) == 200
    assert status_of(master, token) == 401
    assert "does not match server's copy" in review(master, token)["error"]


def test_its_account_lists_it_no_longer_when_it_is_deleted(master: RunningMaster) -> None:
    listed = [{"name": "listed-token"}, {"name": "other"}]
    body = {"metadata": {"name": "lists"}, "secrets": listed}
    created(master, f"{DEFAULT}/serviceaccounts", body)
    created(master, f"{DEFAULT}/secrets", secret("listed-token", "lists"))
    token_of(master, "listed-token")
    delete(master, f"{DEFAULT}/secrets/listed-token")
    wanted = "--for=jsonpath={.secrets[*].name}=other"
    asked(master, "wait", wanted, "serviceaccount/lists", "--timeout=30s")


def test_it_is_dead_when_its_account_is_deleted(master: RunningMaster) -> None:
    """At once, before the Secret goes, too; and for a new account of that name."""
    account(master, "mortal")
    created(master, f"{DEFAULT}/secrets", secret("mortal-token", "mortal"))
    token = token_of(master, "mortal-token")
    assert status_of(master, token) == 200
    delete(master, f"{DEFAULT}/serviceaccounts/mortal")
    assert status_of(master, token) == 401
    created(master, f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "mortal"}})
    assert status_of(master, token) == 401
    asked(master, "wait", "--for=delete", "secret/mortal-token", "--timeout=60s")


def test_a_watch_ends_when_the_token_is_taken_out(master: RunningMaster) -> None:
    account(master, "changed")
    created(master, f"{DEFAULT}/secrets", secret("changed-token", "changed"))
    token = token_of(master, "changed-token")
    with closing(master.connection(None)) as connection:
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("GET", f"{DEFAULT}/pods?watch=true&timeoutSeconds=60", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        asked(master, "patch", "secret", "changed-token", "-p", '{"data":{"token":null}}')
        with pytest.raises(http.client.IncompleteRead):  # cut off, long before its 60 s
            answer.read()
    assert status_of(master, token) == 401
    assert status_of(master, token_of(master, "changed-token")) == 200


def test_a_secret_that_names_nobody_is_told_or_goes(master: RunningMaster, tmp_path: Path) -> None:
    """As in Kubernetes: without a name it is not taken, with a wrong one it is deleted."""
    plain = secret("nameless", "")
    del plain["metadata"]["annotations"]
    said, done = applied(master, tmp_path, plain)
    assert not done
    assert (
        f'The Secret "nameless" is invalid: metadata.annotations[{NAME}]: Required value'
    ) in said
    created(master, f"{DEFAULT}/secrets", secret("lost", "nobody"))
    created(master, f"{DEFAULT}/secrets", secret("stale", "default", **{UID: "former"}))
    # an account that is missing may be news that has not come yet; later news show that it is not
    created(master, f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "later"}})
    for name in ("lost", "stale"):
        asked(master, "wait", "--for=delete", f"secret/{name}", "--timeout=60s")


def test_its_type_and_the_name_in_it_stay(master: RunningMaster) -> None:
    created(master, f"{DEFAULT}/secrets", secret("fixed", "default"))
    token_of(master, "fixed")
    said, done = kubectl(master, "patch", "secret", "fixed", "-p", '{"type":"Opaque"}')
    assert not done
    assert 'type: Invalid value: "Opaque": field is immutable' in said
    said, done = kubectl(master, "annotate", "secret", "fixed", f"{NAME}-")
    assert not done
    assert f"metadata.annotations[{NAME}]: Required value" in said


def kid_of(token: str) -> str:
    """Which key a token says that it was signed with."""
    text = token.split(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))["kid"])


def test_a_key_is_followed_by_another_and_dropped_later(own_master: RunningMaster) -> None:
    file = own_master.directory / "data/pki/service-accounts.key"
    account(own_master, "robot")
    created(own_master, f"{DEFAULT}/secrets", secret("robot-token", "robot"))
    former = [token_of(own_master, "robot-token"), asked(own_master, "create", "token", "robot")]
    said = wherry(own_master, "account-key", "rotate", "--file", str(file))
    own_master.stop()
    own_master.start()
    assert [status_of(own_master, token) for token in former] == [200, 200]
    newer = asked(own_master, "create", "token", "robot")
    assert status_of(own_master, newer) == 200
    listed = [f"{kid_of(newer)}  in use", kid_of(former[0])]
    assert said.startswith(f"{kid_of(newer)} is the new key. ")
    assert wherry(own_master, "account-key", "list", "--file", str(file)).splitlines() == listed
    keys = json.loads(asked(own_master, "get", "--raw", "/openid/v1/jwks"))["keys"]
    assert [key["kid"] for key in keys] == [kid_of(newer), kid_of(former[0])]
    asked(own_master, "patch", "secret", "robot-token", "-p", '{"data":{"token":null}}')
    renewed = token_of(own_master, "robot-token")
    assert kid_of(renewed) == kid_of(newer)
    text = file.read_text()
    file.write_text(text[: text.index("-----BEGIN PUBLIC KEY-----")])
    own_master.stop()
    own_master.start()
    assert [status_of(own_master, token) for token in former] == [401, 401]
    assert [status_of(own_master, token) for token in (newer, renewed)] == [200, 200]
