"""The table: which endpoints are used, which are refused, and which services are ours."""

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.kubeproxy.objects import EndpointSlice, ServiceLabels
from node.kubeproxy.table import Endpoint, ServicePort, Table
from tests.unit.kubeproxy.objects import FACTS, NODE_IP, endpoint, endpoint_slice, service

UNSAFE = ["127.0.0.1", "169.254.7.7", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", NODE_IP]


def the_port(made: EndpointSlice, **spec: object) -> ServicePort:
    """The one port of a service with this slice."""
    table = Table(FACTS)
    table.put_service("default/web", service(**spec))  # type: ignore[arg-type]
    table.put_slice("default/web-1", made)
    (port,) = table.ports("default/web")
    return port


def addresses(endpoints: tuple[Endpoint, ...]) -> list[str]:
    """Where they are."""
    return [one.address for one in endpoints]


def test_local_endpoints_are_those_of_this_node() -> None:
    port = the_port(endpoint_slice(endpoint("10.42.1.2"), endpoint("10.42.2.2", "n2")))
    assert addresses(port.endpoints) == ["10.42.1.2", "10.42.2.2"]
    assert addresses(port.local_endpoints) == ["10.42.1.2"]


def test_one_that_serves_while_it_terminates_is_the_last_resort() -> None:
    leaving = endpoint("10.42.1.2", ready=False, serving=True, terminating=True)
    unready = endpoint("10.42.1.3", ready=False, serving=False, terminating=False)
    alone = the_port(endpoint_slice(leaving, unready))
    assert addresses(alone.endpoints) == ["10.42.1.2"]
    beside = the_port(endpoint_slice(leaving, endpoint("10.42.2.2", "n2")))
    assert addresses(beside.endpoints) == ["10.42.2.2"]
    assert addresses(beside.local_endpoints) == ["10.42.1.2"]


@pytest.mark.parametrize("address", UNSAFE)
def test_an_unsafe_endpoint_is_refused_with_a_reason(address: str) -> None:
    table = Table(FACTS)
    table.put_service("default/web", service())
    table.put_slice("default/web-1", endpoint_slice(endpoint(address)))
    (port,) = table.ports("default/web")
    assert port.endpoints == port.local_endpoints == ()
    ((name, where, reason),) = [(r.service, r.address, r.reason) for r in table.refused()]
    assert (name, where) == ("default/web", address)
    assert reason


@given(st.ip_addresses(v=4))
def test_no_special_address_ever_becomes_an_endpoint(address: IPv4Address) -> None:
    used = the_port(endpoint_slice(endpoint(str(address)))).endpoints
    special = address.is_loopback or address.is_link_local or address.is_multicast
    if special or address.is_unspecified:
        assert used == ()


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None"},
        {"clusterIP": "fd00::1"},
        {"clusterIP": ""},
        {"type": "ExternalName", "externalName": "example.com"},
    ],
)
def test_services_without_an_ipv4_address_are_not_served(spec: dict[str, str]) -> None:
    table = Table(FACTS)
    table.put_service("default/web", service(**spec))
    assert table.ports("default/web") == []


@pytest.mark.parametrize(
    "label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"]
)
def test_services_of_other_proxies_are_left_to_them(label: str) -> None:
    table, made = Table(FACTS), service()
    made.metadata.labels = msgspec.convert({label: ""}, ServiceLabels)
    table.put_service("default/web", made)
    assert table.ports("default/web") == []


def test_external_ips_that_rules_cannot_have_are_left_out() -> None:
    port = the_port(endpoint_slice(), externalIPs=("fd00::2", "198.51.100.7", "nonsense"))
    assert port.external_ips == ("198.51.100.7",)


def test_ipv6_slices_and_other_ports_are_passed_over() -> None:
    assert the_port(endpoint_slice(endpoint("fd00::3"), kind="IPv6")).endpoints == ()
    other = ({"name": "other", "port": 8080, "protocol": "TCP"},)
    assert the_port(endpoint_slice(endpoint("10.42.1.2"), ports=other)).endpoints == ()


def test_what_rules_do_not_depend_on_changes_nothing() -> None:
    """A slice is written for many reasons; only some of them are a reason for a transaction."""
    table = Table(FACTS)
    made = endpoint_slice(endpoint("10.42.1.2"))
    assert table.put_service("default/web", service()) == {"default/web"}
    assert table.put_slice("default/web-1", made) == {"default/web"}
    assert table.put_service("default/web", service()) == set()
    assert table.put_slice("default/web-1", made) == set()
    assert table.remove_service("default/other") == set()


def test_a_slice_that_changes_hands_concerns_both_services() -> None:
    table = Table(FACTS)
    table.put_service("default/web", service())
    table.put_slice("default/web-1", endpoint_slice(endpoint("10.42.1.2")))
    moved = endpoint_slice(endpoint("10.42.1.2"), name="other")
    assert table.put_slice("default/web-1", moved) == {"default/web", "default/other"}
    (port,) = table.ports("default/web")
    assert port.endpoints == ()


@pytest.mark.parametrize("wrong", [{"port": 0}, {"port": 65536}, {"port": 80, "nodePort": -1}])
def test_a_port_that_rules_cannot_have_keeps_no_other_from_its_rules(wrong: dict[str, int]) -> None:
    """One wrong number would fail the transaction of every service."""
    table = Table(FACTS)
    sound = {"port": 443, "protocol": "TCP"}
    table.put_service("default/web", service(ports=({"protocol": "TCP", **wrong}, sound)))
    assert [port.port for port in table.ports("default/web")] == [443]


def test_numbers_of_slices_and_affinity_are_bounded() -> None:
    far = ({"port": 70000, "protocol": "TCP"},)
    assert the_port(endpoint_slice(endpoint("10.42.1.2"), ports=far)).endpoints == ()
    for seconds, kept in ((10**15, 86400), (-5, 1), (60, 60)):
        config = {"clientIP": {"timeoutSeconds": seconds}}
        spec = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}
        assert the_port(endpoint_slice(), **spec).affinity_seconds == kept
