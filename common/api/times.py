"""RFC 3339 times as Kubernetes writes them. Pure: what time it is comes from a Clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from common.api.types import MicroTime, Time

_PATTERN = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{1,2}):([0-9]{2}):([0-9]{2})([.,][0-9]{1,100})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})"
)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(microsecond=0, tzinfo=UTC)


class InvalidTime(ValueError):
    """The text is not an RFC 3339 time."""


def parse(text: str) -> datetime:
    """An aware time in UTC, to the microsecond; raises InvalidTime."""
    match = _PATTERN.fullmatch(text)
    shown = text[:100]
    if match is None:
        raise InvalidTime(f'parsing time "{shown}" as "2006-01-02T15:04:05Z07:00": cannot parse')
    micro = int(((match[7] or ".0")[1:] + "000000")[:6])
    try:
        year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
        moment = datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
        return moment - _offset(match[8])
    except (ValueError, OverflowError) as error:
        raise InvalidTime(f'parsing time "{shown}": {error}') from error


def _offset(zone: str) -> timedelta:
    """How far a zone such as `+01:00` is ahead of UTC."""
    if zone == "Z":
        return timedelta(0)
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 24 or minutes > 60:
        raise ValueError("time zone offset out of range")
    ahead = timedelta(hours=hours, minutes=minutes)
    return -ahead if zone[0] == "-" else ahead


def later(moment: datetime, seconds: float) -> datetime:
    """`seconds` after `moment`, or before it, as far as years go: from 1 to 9999.

    For numbers from clients: they may be as large as 64 bits allow.
    """
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return (_LAST if seconds > 0 else _FIRST).astimezone(moment.tzinfo)


def to_time(moment: datetime) -> Time:
    """To the second, cut rather than rounded."""
    return Time(_plain(moment).isoformat(timespec="seconds") + "Z")


def to_micro_time(moment: datetime) -> MicroTime:
    """With six decimals."""
    return MicroTime(_plain(moment).isoformat(timespec="microseconds") + "Z")


def _plain(moment: datetime) -> datetime:
    """The same moment as UTC without saying so: years before 1000 keep their zeros."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def age_seconds(since: str | None, now: datetime) -> float:
    """Seconds from `since` to `now`; 0 when `since` is not set."""
    return (now - parse(since)).total_seconds() if since else 0.0


def human_duration(seconds: float) -> str:
    """`41s`, `3m20s`, `5h`, `2d3h`: the ages that kubectl prints (apimachinery util/duration)."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"
