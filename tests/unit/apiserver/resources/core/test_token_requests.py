"""What a TokenRequest is answered, and what a node may ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Node, Pod, Secret
from common.api.types.meta_v1 import ObjectMeta
from common.security.accountkeys import AccountKeys
from common.security.identity import Identity
from master.apiserver.auth.accounttokens import ISSUER, Bound, Claims, Ref, TokenKeys
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.apiserver.resources.core.tokenrequest import TokenSubresource
from master.storage.keys import registry_key
from tests.fakes.pods import container, pod

KEY = TokenKeys(AccountKeys(ec.generate_private_key(ec.SECP256R1())))
ADMIN = Identity("admin", ("system:masters",))
NODE = Identity("system:node:n1", ("system:nodes",))
ACCOUNTS = SCHEME.require("", "v1", "serviceaccounts")
IN_POD = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "p-uid"}


async def put(pipeline: Pipeline, plural: str, obj: Any) -> None:
    """Store an object as it is."""
    meta = obj.metadata
    await pipeline.store.create(registry_key(plural, meta.name, meta.namespace), codec.encode(obj))


def a_pod(name: str = "web", node: str = "n1", account: str = "app") -> Pod:
    volumes = [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]
    made = pod(
        metadata={"name": name, "namespace": "n", "uid": "p-uid"},
        volumes=volumes,
        containers=[container()],
    )
    made.spec.nodeName, made.spec.serviceAccountName = node, account
    return made


class Asker:
    """Asks for tokens of the account `app` in the namespace `n`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._handler = TokenSubresource(pipeline, KEY)

    async def answer(
        self, user: Identity = ADMIN, metadata: Any = None, name: str = "app", **spec: Any
    ) -> dict[str, Any]:
        """The TokenRequest that comes back."""
        plain = {"kind": "TokenRequest", "metadata": metadata or {}, "spec": spec}
        body = Body(json.dumps(plain).encode())
        data = await self._handler.create(
            Context(user=user), Target(ACCOUNTS, "n", name, "token"), body
        )
        return codec.decode_plain(data)  # type: ignore[no-any-return]

    async def claims(self, user: Identity = ADMIN, **spec: Any) -> Claims:
        """What the token says."""
        return KEY.read((await self.answer(user, **spec))["status"]["token"])

    async def refusal(self, user: Identity = ADMIN, **asked: Any) -> tuple[int, str]:
        """(code, message) of the refusal."""
        with pytest.raises(StatusError) as error:
            await self.answer(user, **asked)
        return error.value.code, error.value.message


@pytest.fixture
async def asker(pipeline: Pipeline) -> Asker:
    """With a pod on n1, one on n2, the nodes, and a Secret."""
    for name in ("app", "other"):
        meta = ObjectMeta(name=name, namespace="n", uid=f"{name}-uid")
        account: Any = SCHEME.struct_of(ACCOUNTS)(metadata=meta)
        await put(pipeline, "serviceaccounts", account)
    await put(pipeline, "pods", a_pod())
    await put(pipeline, "pods", a_pod("far", node="n2"))
    await put(pipeline, "pods", a_pod("others", account="other"))
    await put(pipeline, "nodes", Node(metadata=ObjectMeta(name="n1", uid="n1-uid")))
    secret = Secret(metadata=ObjectMeta(name="s", namespace="n", uid="s-uid"))
    await put(pipeline, "secrets", secret)
    return Asker(pipeline)


async def test_an_hour_for_the_api_server_by_default(asker: Asker) -> None:
    answer = await asker.answer()
    assert answer["kind"] == "TokenRequest"
    assert answer["apiVersion"] == "authentication.k8s.io/v1"
    assert answer["metadata"] == {
        "name": "app",
        "namespace": "n",
        "uid": "app-uid",
        "creationTimestamp": "2030-01-01T00:00:00Z",
    }
    assert answer["spec"] == {
        "audiences": [ISSUER],
        "expirationSeconds": 3600,
        "boundObjectRef": None,
    }
    assert answer["status"]["expirationTimestamp"] == "2030-01-01T01:00:00Z"
    claims = KEY.read(answer["status"]["token"])
    assert claims.sub == "system:serviceaccount:n:app"
    assert claims.bound == Bound(namespace="n", serviceaccount=Ref("app", "app-uid"))
    assert claims.exp - claims.iat == 3600


async def test_each_token_has_an_id_of_its_own(asker: Asker) -> None:
    assert (await asker.claims()).jti != (await asker.claims()).jti


async def test_audiences_and_time_are_as_asked(asker: Asker) -> None:
    claims = await asker.claims(audiences=["vault", "b"], expirationSeconds=600)
    assert (claims.aud, claims.exp - claims.nbf) == (("vault", "b"), 600)
    assert (await asker.claims(expirationSeconds=1 << 32)).exp > 1 << 32


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (599, "599: may not specify a duration less than 10 minutes"),
        (-1, "-1: may not specify a duration less than 10 minutes"),
        (0, "0: may not specify a duration less than 10 minutes"),
        ((1 << 32) + 1, "4294967297: may not specify a duration larger than 2^32 seconds"),
    ],
)
async def test_a_time_out_of_bounds(asker: Asker, seconds: int, text: str) -> None:
    code, message = await asker.refusal(expirationSeconds=seconds)
    assert code == 422
    assert message == (
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: '
        f"{text}"
    )


async def test_bound_to_a_pod_secret_or_node(asker: Asker) -> None:
    bound = (await asker.claims(boundObjectRef=IN_POD)).bound
    assert (bound.pod, bound.node) == (Ref("web", "p-uid"), Ref("n1", "n1-uid"))
    ref = {**IN_POD, "name": "far"}
    assert (await asker.claims(boundObjectRef=ref)).bound.node == Ref("n2"), "there is no such Node"
    ref = {"apiVersion": "v1", "kind": "Secret", "name": "s"}
    bound = (await asker.claims(boundObjectRef=ref)).bound
    assert (bound.secret, bound.pod, bound.node) == (Ref("s", "s-uid"), None, None)
    ref = {"kind": "Node", "name": "n1", "uid": "n1-uid"}
    assert (await asker.claims(boundObjectRef=ref)).bound.node == Ref("n1", "n1-uid")


@pytest.mark.parametrize(
    ("ref", "code", "text"),
    [
        ({"name": "gone"}, 404, 'pods "gone" not found'),
        ({"name": "others"}, 400, "to pod running with different serviceaccount name"),
        ({"uid": "before"}, 409, 'on Pod "web": the UID in the bound object reference (before)'),
        ({"kind": "ConfigMap"}, 400, "to object of type /v1, Kind=ConfigMap"),
        ({"apiVersion": "apps/v1"}, 400, "to object of type apps/v1, Kind=Pod"),
        ({"name": ".."}, 404, 'pods ".." not found'),
    ],
)
async def test_what_a_token_cannot_be_bound_to(
    asker: Asker, ref: dict[str, str], code: int, text: str
) -> None:
    found = await asker.refusal(boundObjectRef={**IN_POD, **ref})
    assert found[0] == code
    assert text in found[1]


async def test_another_account_than_that_of_the_path(asker: Asker) -> None:
    assert await asker.refusal(name="gone") == (404, 'serviceaccounts "gone" not found')
    for metadata, code, text in (
        ({"name": "x"}, 422, 'metadata.name: Invalid value: "x": must match the service account'),
        ({"namespace": "x"}, 422, "must match the service account namespace if specified"),
        ({"uid": "x"}, 409, "the UID in the token request (x) does not match the UID of the"),
    ):
        found = await asker.refusal(metadata=metadata)
        assert found[0] == code
        assert text in found[1]


async def test_a_token_that_would_be_too_long(asker: Asker) -> None:
    assert (await asker.refusal(audiences=["a" * 4000]))[0] == 400


async def test_a_node_gets_tokens_of_its_pods(asker: Asker) -> None:
    assert (await asker.claims(NODE, boundObjectRef=IN_POD)).bound.pod == Ref("web", "p-uid")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({}, "node requested token not bound to a pod"),
        ({"boundObjectRef": {"kind": "Node", "apiVersion": "v1", "name": "n1"}}, "not bound to a"),
        ({"boundObjectRef": {**IN_POD, "uid": ""}}, "with a pod binding without a uid"),
        ({"boundObjectRef": {**IN_POD, "uid": "x"}}, "reference (x) does not match the UID"),
        ({"boundObjectRef": {**IN_POD, "name": "far"}}, "scheduled on a different node"),
        ({"boundObjectRef": IN_POD, "audiences": ["vault"]}, 'audience "vault" not found in pod'),
        ({"boundObjectRef": IN_POD, "audiences": ["a", "b"]}, "only request 0 or 1 audiences"),
    ],
)
async def test_a_node_gets_no_others(asker: Asker, spec: dict[str, Any], why: str) -> None:
    code, message = await asker.refusal(NODE, **spec)
    assert code == 403
    assert message.startswith('serviceaccounts "app" is forbidden: ')
    assert why in message
