"""A machine that gets another address: noticed once it stays, and not for a moment."""

from __future__ import annotations

import asyncio

import pytest

from common.runtime import interfaces
from common.runtime.interfaces import Interface
from node import addresses
from node.addresses import AddressChanged
from tests.fakes.clock import FakeClock


async def followed(*found: str) -> tuple[bool, str]:
    """Whether a change was noticed when these were found one after the other, and what was said.
    Each letter is an address."""
    clock, looks = FakeClock(), map(tuple, found)
    following = asyncio.create_task(addresses.follow(lambda: next(looks), clock))
    await clock.advance(addresses.LOOK_SECONDS * (len(found) - 1))
    if not following.done():
        following.cancel()
        return False, ""
    with pytest.raises(AddressChanged) as error:
        await following
    return True, str(error.value)


async def test_a_change_that_stays_is_noticed() -> None:
    noticed, said = await followed("a", "a", "b", "b")
    assert noticed
    assert said == "the addresses of this machine have changed: a, now b"


async def test_an_address_that_is_lost_is_noticed_after_a_minute() -> None:
    lost = ["a"] * addresses.LOST_LOOKS
    assert (await followed("ab", *lost))[0]
    assert not (await followed("ab", *lost[1:], "ab", *lost[1:]))[0]


@pytest.mark.parametrize(
    "found",
    [["a"] * 5, list("ababa"), list("aabc"), list("abca"), ["a", *[""] * 20, "a", "a"]],
    ids=["same", "to and fro", "not twice", "back", "none at all"],
)
async def test_a_moment_is_not(found: list[str]) -> None:
    assert not (await followed(*found))[0]


@pytest.mark.parametrize(
    ("present", "leads", "effective"),
    [
        (["192.168.0.5", "192.168.0.9"], "192.168.0.9", "192.168.0.5"),
        (["192.168.0.9"], "192.168.0.9", "192.168.0.9"),
        ([], "", "192.168.0.5"),
    ],
)
def test_an_address_counts_while_it_is_there(
    present: list[str], leads: str, effective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Interface("eth0", each) for each in present]
    monkeypatch.setattr(interfaces, "interfaces", lambda: found)
    assert addresses.effective("192.168.0.5", lambda: leads) == effective


def test_networks_of_containers_are_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Interface("eth0", "192.168.0.5"), Interface("podman1", "10.88.0.1")]
    monkeypatch.setattr(interfaces, "interfaces", lambda: found)
    assert addresses.reachable() == ("192.168.0.5",)
