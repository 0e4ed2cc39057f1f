"""Times, ages and conditions."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api import conditions, times
from common.api.types import Time
from common.api.types.core_v1 import PodCondition


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_survive(moment: datetime) -> None:
    assert times.parse(times.to_micro_time(moment)) == moment
    assert times.parse(times.to_time(moment)) == moment.replace(microsecond=0)


def test_times_are_in_utc() -> None:
    moment = datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert times.to_time(moment) == "2025-12-31T23:30:00Z"
    assert times.to_micro_time(moment) == "2025-12-31T23:30:00.000000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-01",
        "2026-01-01 00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+25",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "２026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(times.InvalidTime):
        times.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (740 * 86400, "2y10d"),
        (8 * 365 * 86400, "8y"),
        (9 * 365 * 86400 + 86400, "9y"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert times.human_duration(seconds) == text


def condition(status: str, at: str, reason: str = "") -> PodCondition:
    return PodCondition(type="Ready", status=status, lastTransitionTime=Time(at), reason=reason)


def test_a_transition_is_a_change_of_status() -> None:
    found = conditions.put((), condition("True", "1"))
    found = conditions.put(found, condition("True", "2", "same"))
    assert [(c.lastTransitionTime, c.reason) for c in found] == [("1", "same")]
    found = conditions.put(found, condition("False", "3"))
    assert [(c.lastTransitionTime, c.status) for c in found] == [("3", "False")]
    assert not conditions.is_true(found, "Ready")
    assert conditions.find(found, "Other") is None
    assert conditions.without(found, "Ready") == ()


@pytest.mark.parametrize("seconds", [0, 1, -1, 30, 10**17, -(10**17), 2**63 - 1, -(2**63)])
def test_any_number_of_seconds_later_is_a_time(seconds: int) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    found = times.later(moment, seconds)
    assert times.parse(times.to_time(found)) == found
    if abs(seconds) < 10**9:
        assert found == moment + timedelta(seconds=seconds)
    else:
        assert found.year == (9999 if seconds > 0 else 1)


def test_many_conditions_are_put_like_one_after_the_other() -> None:
    def made(kind: str, status: str, at: str) -> PodCondition:
        return PodCondition(type=kind, status=status, lastTransitionTime=Time(at))

    old = (made("a", "True", "then"), made("b", "True", "then"))
    new = [made("b", "True", "now"), made("a", "False", "now"), made("c", "True", "now")]
    found = conditions.put_all(old, new)
    assert [(c.type, c.status, c.lastTransitionTime) for c in found] == [
        ("a", "False", "now"),
        ("b", "True", "then"),
        ("c", "True", "now"),
    ]
    many = tuple(made(f"t{number}", "True", "then") for number in range(20_000))
    start = time.process_time()
    assert len(conditions.put_all(many, [made(c.type, "False", "now") for c in many])) == 20_000
    assert time.process_time() - start < 1
