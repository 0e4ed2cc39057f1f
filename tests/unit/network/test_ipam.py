"""Addresses of pods: never two the same, none back at once, none of those that are not pods'."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.network.ipam import AddressPool, NoAddress

CIDR = "10.42.7.0/28"
POD_ADDRESSES = 13


def test_the_network_the_gateway_and_the_broadcast_are_left_out() -> None:
    pool, used = AddressPool(CIDR), set[str]()
    for _ in range(POD_ADDRESSES):
        used.add(pool.take(used))
    assert sorted(used, key=IPv4Address) == [f"10.42.7.{n}" for n in range(2, 15)]
    with pytest.raises(NoAddress, match="all 13 pod addresses"):
        pool.take(used)


def test_an_address_that_came_free_is_the_last_to_be_used_again() -> None:
    pool, given_out = AddressPool(CIDR), [""]
    for _ in range(POD_ADDRESSES + 1):
        given_out.append(pool.take((), after=given_out[-1]))
    assert len(set(given_out[1:-1])) == POD_ADDRESSES
    assert given_out[-1] == given_out[1] == "10.42.7.2"


def test_the_last_address_may_be_one_of_another_block() -> None:
    """The node was given another one, or its pods are of before it had any."""
    for last in ("10.42.255.9", "10.42.0.1", "255.255.255.255", "0.0.0.0"):
        assert IPv4Address(AddressPool(CIDR).take((), after=last)) in IPv4Network(CIDR)


def test_a_new_pool_is_rebuilt_from_what_is_in_use() -> None:
    assert AddressPool(CIDR).take({"10.42.7.2", "10.42.7.3"}) == "10.42.7.4"


@given(st.integers(8, 29), st.lists(st.booleans(), max_size=60))
def test_whatever_is_taken_and_given_back_no_address_is_used_twice(
    prefix: int, steps: list[bool]
) -> None:
    network = IPv4Network((int(IPv4Address("10.0.0.0")), prefix))
    pool, used, last = AddressPool(str(network)), list[str](), ""
    for take in steps:
        if not take:
            del used[:1]
            continue
        if len(used) == network.num_addresses - 3:
            continue
        address = last = pool.take(used, last)
        assert address not in used
        assert IPv4Address(address) in network
        assert int(IPv4Address(address)) - int(network.network_address) >= 2
        assert IPv4Address(address) != network.broadcast_address
        used.append(address)
