"""The addresses of this machine: whoever depends on them begins anew when they change.

systemd starts the service again a second later; containers and rules stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from common.runtime import interfaces
from common.runtime.clock import Clock

LOOK_SECONDS = 5.0
T = TypeVar("T")


class AddressChanged(Exception):
    """The machine is reached by another address than before; the message says which."""


async def follow(look: Callable[[], T], clock: Clock) -> None:
    """Raise AddressChanged once two looks in a row have found something else than the first."""
    first, former = look(), None
    while True:
        await clock.sleep(LOOK_SECONDS)
        now = look()
        if now != first and now == former:
            raise AddressChanged(f"the addresses of this machine have changed: {first}, now {now}")
        former = now


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
