"""A token bucket: how often something may happen. Pure arithmetic, no clock."""

from __future__ import annotations


class TokenBucket:
    """Holds up to `burst` tokens and gains `per_second` of them; starts full."""

    __slots__ = ("_burst", "_per_second", "_since", "_tokens")

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._since = 0.0

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens if they are there. `now` is in monotonic seconds."""
        self._refill(now)
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    def spend(self, now: float, cost: float = 1.0) -> float:
        """Take `cost` tokens, also those that are still to come; the seconds until they have."""
        self._refill(now)
        self._tokens -= cost
        return max(0.0, -self._tokens / self._per_second)

    def _refill(self, now: float) -> None:
        gained = (now - self._since) * self._per_second if now > self._since else 0.0
        self._tokens = min(self._burst, self._tokens + gained)
        self._since = max(self._since, now)
