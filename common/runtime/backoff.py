"""How long to wait before the next try: pure arithmetic, no clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with a cap.

    `jitter` is the share of a delay that chance may take away: 0.5 spreads a delay of 10 s
    over 5..10 s, so that many clients do not come back in the same instant.
    """

    initial_seconds: float
    cap_seconds: float
    factor: float = 2.0
    jitter: float = 0.0

    def delay_seconds(self, failures: int, random: float = 0.0) -> float:
        """The delay after `failures` failures in a row (from 1); `random` is in [0, 1)."""
        if failures < 1:
            return 0.0
        # 2**64 is beyond every cap, and a bounded exponent cannot overflow a float.
        exponent = min(failures - 1, 64)
        delay = min(self.initial_seconds * self.factor**exponent, self.cap_seconds)
        return delay * (1.0 - self.jitter * random)
