"""Upkeep: the space that compaction leaves in etcd's files is given back, when that pays.

Only in an etcd that is Wherry's alone: a member serves nobody while it writes its file anew, and
history is given up at once where there is no space left for anything else.
"""

import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from common.etcd.client import EtcdClient
from common.etcd.errors import Compacted, EtcdError
from common.etcd.maintenance import Maintenance
from common.etcd.types import Alarm, Status
from common.runtime.clock import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
MIB = 1 << 20
SPARE_LEAST_BYTES = 100 * MIB
"""Of free space in a member's file; less is soon used again."""
SPARE_LEAST_PART = 0.5
WRITES_MOST = 20.0
"""A second; a cluster that has more to do is left alone."""
REST_SECONDS = 3600.0
"""Between two defragmentations of one member."""
FULL_REST_SECONDS = 15.0
"""Between two compactions of an etcd that is full: until then users may delete more."""
FULL_PART = 0.9
"""A file that was full and is smaller than that part of what it was is full no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member; None of its status when it does not answer."""

    endpoint: str
    status: Status | None
    rested_seconds: float = REST_SECONDS
    """Since it was last defragmented."""
    is_compact: bool = False
    """Whether that was after history was last given up for space."""

    @property
    def spare_bytes(self) -> int:
        """What defragmentation would give back."""
        return self.status.database_bytes - self.status.in_use_bytes if self.status else 0

    @property
    def size_bytes(self) -> int:
        """Of its file."""
        return self.status.database_bytes if self.status else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that is decided upon."""

    members: tuple[Member, ...]
    writes_per_second: float = 0.0
    full_bytes: int = 0
    """The size of the largest file when the cluster became full."""
    compacted_seconds: float = FULL_REST_SECONDS
    """Since history was last given up for space."""
    is_changed: bool = True
    """Whether anything was deleted since."""


@dataclass(frozen=True, slots=True)
class Compact:
    """Give up all history."""


@dataclass(frozen=True, slots=True)
class Defragment:
    """Let one member write its file anew."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Disarm:
    """Say that space was made."""

    alarm: Alarm


Step = Compact | Defragment | Disarm


def decide(situation: Situation) -> Step | None:
    """The next step, None when nothing is to be done. One member at a time, the leader last; and
    only while all of them answer, so that there is a majority without the one."""
    statuses = [one.status for one in situation.members if one.status]
    alarms = {alarm for status in statuses for alarm in status.alarms}
    if len(statuses) < len(situation.members) or any(a.kind == "CORRUPT" for a in alarms):
        return None
    if full := sorted((a for a in alarms if a.kind == "NOSPACE"), key=lambda a: a.member_id):
        return _make_space(situation, full)
    if situation.writes_per_second > WRITES_MOST:
        return None
    for member in _leader_last(situation.members):
        pays = member.spare_bytes >= max(SPARE_LEAST_BYTES, SPARE_LEAST_PART * member.size_bytes)
        if pays and member.rested_seconds >= REST_SECONDS:
            return Defragment(member.endpoint)
    return None


def _make_space(situation: Situation, alarms: Sequence[Alarm]) -> Step | None:
    """What users have deleted is still there, as history: it goes first, then the holes.

    How large these are is not asked: members count them when they write, and they do not.
    """
    small = FULL_PART * situation.full_bytes
    if all(one.size_bytes < small for one in situation.members):
        return Disarm(alarms[0])
    if situation.is_changed and situation.compacted_seconds >= FULL_REST_SECONDS:
        return Compact()
    for member in _leader_last(situation.members):
        if not member.is_compact:
            return Defragment(member.endpoint)
    return None


def _leader_last(members: Sequence[Member]) -> list[Member]:
    return sorted(
        members, key=lambda one: bool(one.status and one.status.leader_id == one.status.member_id)
    )


class Upkeep:
    """Looks at all members every five seconds. `is_alone` says whether etcd is Wherry's alone."""

    def __init__(
        self,
        client: EtcdClient,
        maintenance: Maintenance,
        is_alone: Callable[[EtcdClient], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        self._client = client
        self._maintenance = maintenance
        self._is_alone = is_alone
        self._clock = clock
        self._defragmented: dict[str, float] = {}
        self._compacted = clock.monotonic() - FULL_REST_SECONDS
        self._compacted_revision = 0
        self._full_bytes = 0
        self._seen: tuple[float, int] | None = None
        """When it looked last, and the revision then."""

    async def run(self) -> None:
        """Go on until cancelled; closes the connections to the members then."""
        try:
            while True:
                await self._clock.sleep(LOOK_SECONDS)
                try:
                    while await self.step():
                        pass
                except EtcdError as error:
                    log.warning("the upkeep of etcd failed", extra={"cause": str(error)})
        finally:
            await self._maintenance.close()

    async def step(self) -> bool:
        """Look, and do one thing; whether there was one. Raises EtcdError."""
        step = decide(await self._situation())
        if step is None or not await self._is_alone(self._client):
            return False
        await self._do(step)
        return True

    async def _situation(self) -> Situation:
        now = self._clock.monotonic()
        members = [
            Member(
                endpoint=endpoint,
                status=await self._status(endpoint),
                rested_seconds=now - self._defragmented.get(endpoint, now - REST_SECONDS),
                is_compact=self._defragmented.get(endpoint, -math.inf) > self._compacted,
            )
            for endpoint in self._maintenance.endpoints
        ]
        is_full = any(a.kind == "NOSPACE" for m in members if m.status for a in m.status.alarms)
        largest = max(one.size_bytes for one in members)
        self._full_bytes = max(self._full_bytes, largest) if is_full else 0
        return Situation(
            members=tuple(members),
            writes_per_second=self._rate(now, members),
            full_bytes=self._full_bytes,
            compacted_seconds=now - self._compacted,
            is_changed=_revision(members) > self._compacted_revision,
        )

    async def _status(self, endpoint: str) -> Status | None:
        try:
            return await self._maintenance.status(endpoint)
        except EtcdError:
            return None

    def _rate(self, now: float, members: Sequence[Member]) -> float:
        """Writes a second since the last look; many, as long as nobody knows."""
        revision = _revision(members)
        before, self._seen = self._seen, (now, revision)
        if before is None or now <= before[0]:
            return WRITES_MOST + 1
        return (revision - before[1]) / (now - before[0])

    async def _do(self, step: Step) -> None:
        match step:
            case Compact():
                await self._give_up_history()
            case Defragment(endpoint):
                await self._maintenance.defragment(endpoint)
                self._defragmented[endpoint] = self._clock.monotonic()
            case Disarm(alarm):
                await self._maintenance.disarm(self._maintenance.endpoints[0], alarm)
        log.info("upkeep of etcd", extra={"step": str(step)})

    async def _give_up_history(self) -> None:
        revision = (await self._client.status()).revision
        with contextlib.suppress(Compacted):  # up to there it was done already
            await self._client.compact(revision, physical=True)
        self._compacted, self._compacted_revision = self._clock.monotonic(), revision


def _revision(members: Sequence[Member]) -> int:
    return max((one.status.revision for one in members if one.status), default=0)
