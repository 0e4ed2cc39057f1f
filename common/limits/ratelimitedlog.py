"""A log for what others can cause as often as they like: short lines, and not too many of them."""

from __future__ import annotations

import logging
from typing import Any

from common.limits.ratelimit import TokenBucket
from common.runtime.clock import Clock

VALUE_MAX = 256


class RateLimitedLog:
    """Logs warnings up to a rate; the next line says how many were left out."""

    def __init__(
        self, log: logging.Logger, clock: Clock, *, per_second: float, burst: float
    ) -> None:
        self._log = log
        self._clock = clock
        self._bucket = TokenBucket(per_second=per_second, burst=burst)
        self._left_out = 0

    def warning(self, message: str, **fields: Any) -> None:
        """One line, with values cut to 256 characters."""
        if not self._bucket.take(self._clock.monotonic()):
            self._left_out += 1
            return
        extra = {name: str(value)[:VALUE_MAX] for name, value in fields.items()}
        if self._left_out:
            extra["left_out"] = str(self._left_out)
            self._left_out = 0
        self._log.warning(message, extra=extra)
