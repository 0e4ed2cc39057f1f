"""What is done to each member of etcd by itself: its state, its alarms, its file."""

from collections.abc import Sequence

from common.etcd import wire
from common.etcd.connection import Connection
from common.etcd.types import Alarm, Status, Tls

_ANSWER_SECONDS = 5.0
_DEFRAGMENT_SECONDS = 600.0
"""A member writes its database anew, and answers nothing meanwhile."""


class Maintenance:
    """A connection to each member. Every method raises errors of `common.etcd.errors` only."""

    def __init__(self, endpoints: Sequence[str], tls: Tls | None) -> None:
        self._connections = {target: Connection(target, tls) for target in endpoints}

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The members, by where they are."""
        return tuple(self._connections)

    async def close(self) -> None:
        """Close all connections."""
        for one in self._connections.values():
            await one.close()

    async def renew(self, tls: Tls) -> None:
        """Show another certificate from now on; what is under way ends with Unavailable."""
        former = self._connections
        self._connections = {target: Connection(target, tls) for target in former}
        for one in former.values():
            await one.close()

    async def status(self, endpoint: str) -> Status:
        """The state of one member."""
        return wire.status(
            await self._connections[endpoint].call(
                lambda stubs: stubs.maintenance.Status,
                wire.status_request(),
                timeout_seconds=_ANSWER_SECONDS,
            )
        )

    async def defragment(self, endpoint: str) -> None:
        """Let a member give back what is free in its file; it serves nobody meanwhile."""
        await self._connections[endpoint].call(
            lambda stubs: stubs.maintenance.Defragment,
            wire.defragment_request(),
            timeout_seconds=_DEFRAGMENT_SECONDS,
        )

    async def disarm(self, endpoint: str, alarm: Alarm) -> None:
        """Tell the cluster that an alarm's cause was mended, through one of its members."""
        await self._connections[endpoint].call(
            lambda stubs: stubs.maintenance.Alarm,
            wire.disarm_request(alarm),
            timeout_seconds=_ANSWER_SECONDS,
        )
