"""When etcd's files are made smaller, in which order, and when not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.etcd.types import Alarm, Status
from master.storage.upkeep import (
    FULL_REST_SECONDS,
    MIB,
    REST_SECONDS,
    WRITES_MOST,
    Compact,
    Defragment,
    Disarm,
    Member,
    Situation,
    decide,
)

LEADER = 2
FULL = Alarm(1, "NOSPACE")


def member(number: int, size: int = 10, in_use: int = 10, *alarms: Alarm) -> Member:
    """A member, its file in MiB."""
    status = Status(
        cluster_id=7,
        member_id=number,
        leader_id=LEADER,
        version="3.4.23",
        revision=1,
        database_bytes=size * MIB,
        in_use_bytes=in_use * MIB,
        alarms=alarms,
    )
    return Member(endpoint=f"e{number}", status=status)


def situation(*members: Member) -> Situation:
    return Situation(members=members)


def test_files_without_holes_are_left_alone() -> None:
    assert decide(situation(member(1), member(2), member(3))) is None


@pytest.mark.parametrize(
    ("size", "in_use", "pays"),
    [
        (250, 100, True),
        (200, 100, True),
        (199, 100, False),  # 99 MiB are soon used again
        (1000, 600, False),  # less than half
        (1000, 500, True),
    ],
)
def test_it_must_pay(size: int, in_use: int, pays: bool) -> None:
    assert decide(situation(member(1, size, in_use))) == (Defragment("e1") if pays else None)


def test_one_at_a_time_and_the_leader_last() -> None:
    holes = [member(number, 500, 50) for number in (1, 2, 3)]
    order = []
    while isinstance(step := decide(situation(*holes)), Defragment):
        order.append(step.endpoint)
        number = int(step.endpoint[1])
        holes[number - 1] = replace(member(number, 50, 50), rested_seconds=0)
    assert order == ["e1", "e3", "e2"]


def test_not_under_load_nor_soon_again_nor_with_a_member_away() -> None:
    now = situation(member(1, 500, 50), member(2))
    assert decide(now) == Defragment("e1")
    assert decide(replace(now, writes_per_second=WRITES_MOST + 1)) is None
    rested = replace(now.members[0], rested_seconds=REST_SECONDS - 1)
    assert decide(situation(rested, member(2))) is None
    assert decide(situation(member(1, 500, 50), Member(endpoint="e2", status=None))) is None


def test_a_full_etcd_gives_up_history_then_holes_and_is_told_so() -> None:
    full = replace(
        situation(member(1, 100, 95, FULL), member(2, 100, 95, FULL)),
        full_bytes=100 * MIB,
        writes_per_second=900,
    )
    assert decide(full) == Compact()
    now = replace(full, compacted_seconds=0, is_changed=False)
    assert decide(now) == Defragment("e1")
    now = replace(now, members=(replace(member(1, 40, 40, FULL), is_compact=True), now.members[1]))
    assert decide(now) == Defragment("e2")
    now = replace(now, members=(now.members[0], replace(member(2, 40, 40), is_compact=True)))
    assert decide(now) == Disarm(FULL)


def test_where_all_is_in_use_users_must_delete_something_first() -> None:
    rested = replace(member(1, 95, 95, FULL), is_compact=True)
    full = replace(situation(rested), full_bytes=100 * MIB, is_changed=False)
    assert decide(full) is None
    deleted = replace(full, is_changed=True)
    assert decide(deleted) == Compact()
    assert decide(replace(deleted, compacted_seconds=FULL_REST_SECONDS - 1)) is None


def test_members_that_differ_are_not_touched() -> None:
    assert decide(situation(member(1, 500, 50, Alarm(1, "CORRUPT"), FULL), member(2))) is None


sizes = st.integers(1, 1000)
members = st.builds(
    lambda number, size, part, rested, alarms: replace(
        member(number, size, size * part // 100, *alarms), rested_seconds=rested
    ),
    st.integers(1, 3),
    sizes,
    st.integers(0, 100),
    st.sampled_from([0.0, REST_SECONDS]),
    st.sampled_from([(), (FULL,)]),
)


@given(st.lists(members, min_size=1, max_size=3), sizes, st.sampled_from([0.0, FULL_REST_SECONDS]))
def test_steps_come_to_an_end(found: list[Member], full: int, compacted: float) -> None:
    """Each step takes away what called for it, so that doing them one after the other ends."""
    now = Situation(
        members=tuple(replace(one, endpoint=str(n)) for n, one in enumerate(found)),
        full_bytes=full * MIB,
        compacted_seconds=compacted,
    )
    for _ in range(2 * len(found) + 2):
        match decide(now):
            case None:
                return
            case Compact():
                now = replace(now, compacted_seconds=0, is_changed=False)
            case Defragment(endpoint):
                now = replace(now, members=tuple(_defragmented(m, endpoint) for m in now.members))
            case Disarm():
                now = replace(now, members=tuple(_disarmed(m) for m in now.members))
    raise AssertionError("it goes on for ever")


def _defragmented(one: Member, endpoint: str) -> Member:
    if one.endpoint != endpoint or one.status is None:
        return one
    status = replace(one.status, database_bytes=one.status.in_use_bytes)
    return replace(one, status=status, rested_seconds=0, is_compact=True)


def _disarmed(one: Member) -> Member:
    return replace(one, status=replace(one.status, alarms=())) if one.status else one
