"""Which member of etcd is used, and what becomes of calls when it is left."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.etcd import client as clients
from common.etcd.client import EtcdClient
from common.etcd.connection import Connection
from common.etcd.errors import Busy, EtcdError, OutcomeUnknown, Unavailable
from common.etcd.members import Answer, Members
from tests.fakes.clock import FakeClock
from tests.fakes.rng import SeededRng

WELL, SILENT = Answer(cluster_id=7), Answer(problem="deadline exceeded")
FOREIGN = Answer(cluster_id=8)


def test_a_member_that_answers_stays() -> None:
    members = Members(3)
    assert members.others == (1, 2)
    for member in (0, 1, 2):
        assert not members.heard(member, WELL)
    assert members.current == 0


def test_the_first_other_that_answers_takes_the_place_of_a_silent_one() -> None:
    members = Members(3)
    assert not members.heard(0, SILENT)
    assert not members.heard(1, SILENT)
    assert members.heard(2, WELL)
    assert (members.current, members.problem, members.others) == (2, "", (0, 1))


def test_where_none_answers_nothing_changes() -> None:
    members = Members(2)
    assert not any(members.heard(member, SILENT) for member in (0, 1))
    assert members.current == 0 and members.problem


def test_a_member_of_another_cluster_is_never_used() -> None:
    members = Members(3)
    members.heard(0, WELL)
    members.heard(0, SILENT)
    assert not members.heard(1, FOREIGN)
    assert members.foreign == {1}
    assert members.heard(2, WELL)
    assert not members.heard(1, WELL)
    assert members.foreign == frozenset()


def test_the_member_in_use_that_turns_up_in_another_cluster_is_left() -> None:
    members = Members(2)
    members.heard(0, WELL)
    members.heard(0, FOREIGN)
    assert members.heard(1, WELL) and members.current == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([WELL, SILENT, FOREIGN, Answer()]))))
def test_whatever_is_heard(heard: list[tuple[int, Answer]]) -> None:
    members, cluster_id = Members(3), 0
    for member, answer in heard:
        if not answer.problem:
            cluster_id = cluster_id or answer.cluster_id
        before, was_silent = members.current, bool(members.problem)
        changed = members.heard(member, answer)
        assert changed == (members.current != before)
        if changed:
            assert was_silent and member == members.current and not answer.problem
            assert answer.cluster_id in (0, cluster_id)
        assert sorted((members.current, *members.others)) == [0, 1, 2]


class Cluster:
    """Members as their connections show them: what each does to a call, and to a question."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken: dict[str, EtcdError] = {}
        self.silent: set[str] = set()


class FakeConnection(Connection):
    """A connection to a member of a cluster that is told how to behave."""

    def __init__(self, cluster: Cluster, target: str) -> None:
        self.target = target
        self.cluster = cluster
        self.gone = asyncio.Event()

    async def close(self) -> None:
        self.gone.set()

    async def call(
        self, method: Any, request: Any, *, timeout_seconds: float, write: bool = False
    ) -> Any:
        self.cluster.calls.append(self.target)
        if self.target in self.cluster.silent:
            await self.gone.wait()
            raise OutcomeUnknown("closed") if write else Unavailable("closed")
        if error := self.cluster.broken.get(self.target):
            raise error
        return self.target

    async def ask(self, timeout_seconds: float) -> Answer:
        lost = self.target in self.cluster.silent or self.target in self.cluster.broken
        return SILENT if lost else WELL


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
async def client(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EtcdClient]:
    monkeypatch.setattr(clients, "Connection", lambda target, tls: FakeConnection(cluster, target))
    made = EtcdClient(["a", "b", "c"], None, clock=FakeClock(), rng=SeededRng(1))
    yield made
    await made.close()


def ask(client: EtcdClient, *, write: bool = False) -> asyncio.Task[Any]:
    return asyncio.create_task(client._call(lambda stubs: stubs, None, write=write))


@pytest.mark.parametrize("write", [False, True])
async def test_what_was_never_sent_is_asked_elsewhere(
    cluster: Cluster, client: EtcdClient, write: bool
) -> None:
    cluster.broken = {"a": Unavailable("failed to connect"), "b": Unavailable("no leader")}
    assert await ask(client, write=write) == "c"
    assert client.endpoint == "c"
    cluster.broken = {}
    assert await ask(client) == "c", "nobody goes back without need"


async def test_a_write_whose_outcome_is_not_known_is_not_done_again(
    cluster: Cluster, client: EtcdClient
) -> None:
    cluster.broken = {"a": OutcomeUnknown("socket closed")}
    with pytest.raises(OutcomeUnknown):
        await ask(client, write=True)
    assert cluster.calls == ["a"]


async def test_an_etcd_that_is_busy_is_not_asked_thrice(
    cluster: Cluster, client: EtcdClient
) -> None:
    cluster.broken = {"a": Busy("too many requests")}
    with pytest.raises(Busy):
        await ask(client)
    assert cluster.calls == ["a"]


async def test_where_none_serves_the_error_is_told_at_once(
    cluster: Cluster, client: EtcdClient
) -> None:
    cluster.broken = {name: Unavailable("failed to connect") for name in "abc"}
    with pytest.raises(Unavailable):
        await ask(client)
    assert cluster.calls == ["a"] and client.endpoint == "a"


async def test_a_silent_member_is_left_within_seconds(cluster: Cluster, client: EtcdClient) -> None:
    """Reads that waited for it go on at another one; of writes nobody knows."""
    clock = client._clock
    assert isinstance(clock, FakeClock)
    cluster.silent = {"a"}
    reading, writing = ask(client), ask(client, write=True)
    await clock.advance(clients.ASK_SECONDS)
    assert await reading == "b"
    with pytest.raises(OutcomeUnknown):
        await writing
    assert cluster.calls == ["a", "a", "b"]


async def test_a_client_that_is_closed_ends_its_calls(cluster: Cluster, client: EtcdClient) -> None:
    cluster.silent = {"a"}
    reading = ask(client)
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(Unavailable):
        await reading
