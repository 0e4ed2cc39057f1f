"""For how long the token of a service account counts, and who shows it."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.api import times
from common.api.codec import json as codec
from common.api.types.core_v1 import Node, Pod, Secret, ServiceAccount
from common.api.types.meta_v1 import ObjectMeta
from common.security.accountkeys import AccountKeys
from common.security.identity import Identity
from master.apiserver.auth.accounttokens import API_AUDIENCES, Bound, InvalidToken, Ref, TokenKeys
from master.apiserver.auth.serviceaccounts import ServiceAccounts
from master.storage.keys import registry_key
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache
from tests.fakes.clock import FakeClock

KEY = TokenKeys(AccountKeys(ec.generate_private_key(ec.SECP256R1())))
ACCOUNT = Bound(namespace="n", serviceaccount=Ref("web", "a-uid"))
BOUND = {
    "serviceaccounts": ACCOUNT,
    "pods": Bound(namespace="n", serviceaccount=Ref("web", "a-uid"), pod=Ref("p", "p-uid")),
    "secrets": Bound(namespace="n", serviceaccount=Ref("web", "a-uid"), secret=Ref("s", "s-uid")),
    "nodes": Bound(namespace="n", serviceaccount=Ref("web", "a-uid"), node=Ref("n1", "n1-uid")),
}
OBJECTS: dict[str, Any] = {
    "serviceaccounts": ServiceAccount(metadata=ObjectMeta(name="web", namespace="n", uid="a-uid")),
    "pods": Pod(metadata=ObjectMeta(name="p", namespace="n", uid="p-uid")),
    "secrets": Secret(metadata=ObjectMeta(name="s", namespace="n", uid="s-uid")),
    "nodes": Node(metadata=ObjectMeta(name="n1", uid="n1-uid")),
}


class World:
    """A clock, and a cache of what there is."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._store = MemoryStore(self.clock)
        self.cache = WatchCache(self._store, self.clock)
        self.accounts = ServiceAccounts(KEY, self.cache, self.clock)

    async def holds(self, objects: dict[str, Any]) -> None:
        """There is this and nothing else."""
        self.cache = WatchCache(store := MemoryStore(self.clock), self.clock)
        for plural, obj in objects.items():
            meta = obj.metadata
            key = registry_key(plural, meta.name, meta.namespace)
            await store.create(key, codec.encode(obj))
        await self.cache._load()
        self.accounts._cache = self.cache

    def token(self, bound: Bound, **more: Any) -> str:
        """A token for an hour from now."""
        now = int(self.clock.now().timestamp())
        values = {"audiences": API_AUDIENCES, "jti": "j1", "now": now, "seconds": 3600, **more}
        return KEY.issue(bound, **values)

    def refusal(self, token: str) -> str:
        """Why a token does not count."""
        with pytest.raises(InvalidToken) as error:
            self.accounts.authenticate(token)
        assert self.accounts.recognize(token) is None
        return str(error.value)


@pytest.fixture
async def world() -> World:
    """With one object of each kind."""
    made = World()
    await made.holds(OBJECTS)
    return made


def test_who_shows_it(world: World) -> None:
    bound = Bound(
        namespace="n",
        serviceaccount=Ref("web", "a-uid"),
        pod=Ref("p", "p-uid"),
        node=Ref("n2", "n2-uid"),
    )
    identity, audiences = world.accounts.authenticate(world.token(bound))
    assert audiences == API_AUDIENCES
    assert (identity.user, identity.uid) == ("system:serviceaccount:n:web", "a-uid")
    assert identity.groups == ("system:serviceaccounts", "system:serviceaccounts:n")
    assert identity.extra == {
        "authentication.kubernetes.io/credential-id": ("JTI=j1",),
        "authentication.kubernetes.io/node-name": ("n2",),
        "authentication.kubernetes.io/node-uid": ("n2-uid",),
        "authentication.kubernetes.io/pod-name": ("p",),
        "authentication.kubernetes.io/pod-uid": ("p-uid",),
    }, "the node of a pod is told, and need not be there"


@pytest.mark.parametrize("kind", BOUND)
async def test_it_ends_with_what_it_is_bound_to(world: World, kind: str) -> None:
    """Gone; or another one of the same name."""
    token = world.token(BOUND[kind])
    identity, _ = world.accounts.authenticate(token)
    assert world.accounts.problem(identity) == ""
    for plural in {"serviceaccounts", kind}:
        await world.holds({key: obj for key, obj in OBJECTS.items() if key != plural})
        assert world.refusal(token) == "service account token has been invalidated"
        assert world.accounts.problem(identity)
        meta = OBJECTS[plural].metadata
        other = ObjectMeta(name=meta.name, namespace=meta.namespace, uid="other")
        await world.holds({**OBJECTS, plural: type(OBJECTS[plural])(metadata=other)})
        assert f"UID (other) does not match claim ({meta.uid})" in world.refusal(token)
        assert world.accounts.problem(identity)


@pytest.mark.parametrize("kind", BOUND)
async def test_a_minute_after_the_end_of_a_deletion_it_ends(world: World, kind: str) -> None:
    """A pod that is stopping may say goodbye."""
    token, meta = world.token(BOUND[kind]), OBJECTS[kind].metadata
    deleting = ObjectMeta(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        deletionTimestamp=times.to_time(times.later(world.clock.now(), 30)),
    )
    await world.holds({**OBJECTS, kind: type(OBJECTS[kind])(metadata=deleting)})
    await world.clock.advance(90)
    assert world.accounts.recognize(token) is not None
    await world.clock.advance(1)
    assert world.refusal(token) == "service account token has been invalidated"


async def test_it_has_its_time(world: World) -> None:
    token = world.token(ACCOUNT)
    identity, _ = world.accounts.authenticate(token)
    await world.clock.advance(3661)
    assert world.refusal(token) == "service account token has expired"
    assert world.accounts.problem(identity) == "service account token has expired"
    later = int(world.clock.now().timestamp()) + 120
    assert world.refusal(world.token(ACCOUNT, now=later)) == (
        "service account token is not valid yet"
    )


def test_it_is_for_its_audiences(world: World) -> None:
    token = world.token(ACCOUNT, audiences=("vault",))
    assert "is invalid for the target audiences" in world.refusal(token)
    assert world.accounts.authenticate(token, ("vault", "x"))[1] == ("vault",)


NOW = times.to_time(FakeClock().now())
OTHER = ServiceAccount(metadata=ObjectMeta(name="web", namespace="n", uid="other"))
LEGACY = KEY.issue_legacy("s", "n", "web", "a-uid")


def holding(token: str, **meta: Any) -> Secret:
    """The Secret of a service account with that in it."""
    metadata = ObjectMeta(name="s", namespace="n", uid="s-uid", **meta)
    return Secret(metadata=metadata, data={"token": token.encode()} if token else {})


async def test_the_token_of_a_secret_says_who_the_account_is(world: World) -> None:
    await world.holds({**OBJECTS, "secrets": holding(LEGACY)})
    identity, audiences = world.accounts.authenticate(LEGACY)
    assert audiences == API_AUDIENCES
    assert (identity.user, identity.uid) == ("system:serviceaccount:n:web", "a-uid")
    assert identity.groups == ("system:serviceaccounts", "system:serviceaccounts:n")
    assert identity.extra == {}
    await world.clock.advance(1e9)
    assert world.accounts.problem(identity) == ""


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"secrets": None}, "service account token has been invalidated"),
        ({"secrets": holding("")}, "Token does not match server's copy"),
        (
            {"secrets": holding(KEY.issue_legacy("s", "n", "web", "a-uid"))},
            "Token does not match server's copy",
        ),
        ({"secrets": holding("other")}, "Token does not match server's copy"),
        ({"secrets": holding(LEGACY, deletionTimestamp=NOW)}, "has been invalidated"),
        ({"serviceaccounts": None}, "service account token has been invalidated"),
        (
            {"serviceaccounts": OTHER},
            "service account UID (other) does not match claim (a-uid)",
        ),
    ],
)
async def test_the_token_of_a_secret_counts_while_both_are_there(
    world: World, changed: dict[str, Any], why: str
) -> None:
    """And at no later moment, for whoever has shown it before and for who shows it then."""
    there = {**OBJECTS, "secrets": holding(LEGACY)}
    await world.holds(there)
    identity, _ = world.accounts.authenticate(LEGACY)
    await world.holds({key: obj for key, obj in {**there, **changed}.items() if obj is not None})
    assert why in world.refusal(LEGACY)
    assert why in world.accounts.problem(identity)


def test_others_have_no_problem_here(world: World) -> None:
    assert world.accounts.problem(Identity("admin")) == ""
    assert world.refusal("abc") == "invalid bearer token"
