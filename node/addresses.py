"""The addresses of this machine: whoever depends on them begins anew when they change.

systemd starts the service again a second later; containers and rules stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.runtime import interfaces
from common.runtime.clock import Clock

LOOK_SECONDS = 5.0
LOST_LOOKS = 12
"""An address may be away for a moment, while its interface is set up anew, and harms nobody."""


class AddressChanged(Exception):
    """The machine is reached by another address than before; the message says which."""


async def follow(look: Callable[[], Sequence[str]], clock: Clock) -> None:
    """Raise AddressChanged once looks in a row have found others than the first did: two of them
    where an address is new, LOST_LOOKS where some are only lost. None at all is no news."""
    first = former = look()
    alike = 0
    while True:
        await clock.sleep(LOOK_SECONDS)
        now = look()
        alike = alike + 1 if now == former else 1
        former = now
        needed = 2 if set(now) - set(first) else LOST_LOOKS
        if now and now != first and alike >= needed:
            before, after = ", ".join(first), ", ".join(now)
            raise AddressChanged(
                f"the addresses of this machine have changed: {before}, now {after}"
            )


def effective(address: str, leads_to_master: Callable[[], str]) -> str:
    """An address of this machine; the one that leads to the master once it is gone.

    While nothing leads there it counts as still there: an interface may just be set up anew.
    """
    if address in {each.address for each in interfaces.interfaces()}:
        return address
    return leads_to_master() or address


def reachable() -> tuple[str, ...]:
    """All addresses by which others may reach this machine, sorted."""
    return tuple(sorted({each.address for each in interfaces.reachable(interfaces.interfaces())}))
