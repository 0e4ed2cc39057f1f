"""When tokens of service accounts are asked for, kept and let go."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.types.authentication_v1 import TokenRequest
from common.api.types.core_v1 import Pod
from node.kubelet.spec.texts import ConfigError
from node.kubelet.volumes.tokens import JITTER_SECONDS, RETRY_SECONDS, Tokens, owner
from node.session.tokens import NoToken
from tests.fakes.clock import FakeClock
from tests.fakes.pods import UID, container, pod
from tests.fakes.rng import SeededRng

API = ("", 3607)


def a_pod(*sources: dict[str, Any], **spec: Any) -> Pod:
    """With a token of 3607 s for the API server, or others."""
    found = sources or ({"path": "token", "expirationSeconds": 3607},)
    projected = {"sources": [{"serviceAccountToken": source} for source in found]}
    return pod(volumes=[{"name": "v", "projected": projected}], serviceAccountName="web", **spec)


class Master:
    """Issues tokens unless it is away."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, TokenRequest]] = []
        self.away = False

    async def answer(self, namespace: str, account: str, body: bytes) -> bytes:
        if self.away:
            raise NoToken("the master cannot be reached")
        request = codec.decode(body, TokenRequest)
        self.asked.append((namespace, account, codec.decode(body, TokenRequest)))
        request.status.token = f"t{len(self.asked)}"
        return codec.encode(request)


class World:
    """Tokens, their master, and a clock."""

    def __init__(self) -> None:
        self.clock, self.master = FakeClock(), Master()
        self.published = ""
        self.tokens = Tokens(self.master.answer, clock=self.clock, rng=SeededRng())

    async def _published(self, place: str) -> str:
        assert place == "v/token"
        return self.published

    async def of(self, one: Pod) -> dict[tuple[str, int], str]:
        return await self.tokens.of(one, self._published)

    async def version_after(self, one: Pod, seconds: float) -> str:
        await self.clock.advance(seconds)
        return self.tokens.version(one)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_token_is_bound_to_the_pod(world: World) -> None:
    assert await world.of(a_pod()) == {API: "t1"}
    [(namespace, account, request)] = world.master.asked
    assert (namespace, account) == ("default", "web")
    assert codec.decode_plain(codec.encode(request.spec)) == {
        "audiences": [],
        "expirationSeconds": 3607,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": UID},
    }


async def test_sources_of_the_same_kind_share_one(world: World) -> None:
    sources = [
        {"path": "token", "audience": "vault"},
        {"path": "b", "audience": "vault"},
        {"path": "c"},
    ]
    assert await world.of(a_pod(*sources)) == {("vault", 3600): "t1", ("", 3600): "t2"}
    assert [request.spec.audiences for _, _, request in world.master.asked] == [("vault",), ()]


async def test_a_pod_without_any_asks_nobody(world: World) -> None:
    world.master.away = True
    assert await world.of(pod()) == {}
    assert world.tokens.waits(pod()) == []


@pytest.mark.parametrize(
    ("seconds", "renewed_after"), [(3607, 0.8 * 3607), (600, 480), (1 << 32, 86400)]
)
async def test_it_is_renewed_in_time(world: World, seconds: int, renewed_after: float) -> None:
    """At four fifths of its life, or after a day; a little earlier, so that not all are at once."""
    one = a_pod({"path": "token", "expirationSeconds": seconds})
    before = world.tokens.version(one)
    key = ("", seconds)
    assert await world.of(one) == await world.of(one) == {key: "t1"}
    assert world.tokens.version(one) == before, "made once"
    [left] = world.tokens.waits(one)
    assert renewed_after - JITTER_SECONDS <= left <= renewed_after
    assert await world.version_after(one, left - 0.5) == before
    due = await world.version_after(one, 0.5)
    assert due != before
    assert world.tokens.waits(one) == [], "whoever waits looks at once"
    assert await world.of(one) == {key: "t2"}
    assert world.tokens.version(one) == due, "made once"


async def test_a_good_token_is_kept_while_the_master_is_away(world: World) -> None:
    one = a_pod()
    await world.of(one)
    await world.clock.advance(3000)
    world.master.away = True
    assert await world.of(one) == {API: "t1"}
    assert world.tokens.waits(one) == [RETRY_SECONDS]
    await world.clock.advance(607)
    with pytest.raises(ConfigError, match="failed to fetch token of default/web: the master"):
        await world.of(one)
    world.master.away = False
    assert await world.of(one) == {API: "t2"}


async def test_a_new_pod_cannot_be_without(world: World) -> None:
    world.master.away = True
    with pytest.raises(ConfigError):
        await world.of(a_pod())


async def test_a_kubelet_that_begins_anew_keeps_what_is_published(world: World) -> None:
    """Until a master is there."""
    world.master.away, world.published = True, "before"
    assert await world.of(a_pod()) == {API: "before"}
    world.master.away = False
    await world.clock.advance(RETRY_SECONDS)
    assert await world.of(a_pod()) == {API: "t1"}


async def test_a_pod_that_has_gone_is_forgotten(world: World) -> None:
    await world.of(a_pod())
    world.tokens.forget(UID)
    assert world.tokens.waits(a_pod()) == []
    assert await world.of(a_pod()) == {API: "t2"}


async def test_no_token_is_shown(world: World) -> None:
    await world.of(a_pod())
    assert "t1" not in repr(world.tokens._held)


def user(number: int | None) -> dict[str, Any]:
    return {"runAsUser": number} if number is not None else {}


@pytest.mark.parametrize(
    ("of_pod", "of_containers", "expected"),
    [
        (None, [None], None),
        (1000, [None, None], 1000),
        (None, [7, 7], 7),
        (None, [7, None], None),
        (1000, [None, 7], None),
        (1000, [7, 7], 7),
        (0, [None], 0),
    ],
)
def test_whose_file_it_is(
    of_pod: int | None, of_containers: list[int | None], expected: int | None
) -> None:
    containers = [
        container(f"c{number}", securityContext=user(one))
        for number, one in enumerate(of_containers)
    ]
    assert owner(a_pod(containers=containers, securityContext=user(of_pod))) == expected
