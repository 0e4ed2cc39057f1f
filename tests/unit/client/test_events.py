"""Events: the same again is counted, floods are cut, and a clock that is set changes neither."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from common.client.events import BURST, REFILL_SECONDS, Correlator

NOW = datetime(2030, 1, 1, tzinfo=UTC)
POD = {"kind": "Pod", "namespace": "n", "name": "p", "uid": "u"}


def occur(correlator: Correlator, message: str, *, days: float, monotonic: float) -> bool:
    """Something happens to the pod; whether there is an Event of it."""
    now = NOW + timedelta(days=days)
    made = correlator.observe(POD, "Normal", "Said", message, now=now, monotonic=monotonic)
    return made is not None


def test_a_clock_that_is_set_neither_mutes_an_object_nor_lets_it_flood() -> None:
    correlator = Correlator("test")
    said = [occur(correlator, f"m{n}", days=0, monotonic=0) for n in range(BURST + 1)]
    assert said == [True] * BURST + [False]
    assert not occur(correlator, "ahead", days=40, monotonic=1)
    assert not occur(correlator, "back", days=-40, monotonic=2)
    assert occur(correlator, "later", days=0, monotonic=REFILL_SECONDS + 3)
