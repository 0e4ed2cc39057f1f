"""What `/proxy` is asked of: names, ports, endpoints."""

from __future__ import annotations

import pytest

from common.api.errors import StatusError
from common.api.types.core_v1 import (
    Container,
    ContainerPort,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    ObjectReference,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.resources.core import proxying


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ("http", "web", "")),
        ("web:80", ("http", "web", "80")),
        ("web:", ("http", "web", "")),
        ("https:web:", ("https", "web", "")),
        ("http:web:http", ("http", "web", "http")),
        (":web:80", ("http", "web", "80")),
    ],
)
def test_names(text: str, expected: tuple[str, ...]) -> None:
    assert proxying.place(text, "pod") == (text, *expected)


@pytest.mark.parametrize("text", ["", ":80", "ftp:web:80", "http::80", "a:b:c:d", "HTTP:web:80"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(StatusError, match="invalid service request") as raised:
        proxying.place(text, "service")
    assert raised.value.code == 400


def pod(*ports: int) -> Pod:
    containers = (
        Container(name="a"),
        Container(name="b", ports=tuple(ContainerPort(containerPort=port) for port in ports)),
    )
    return Pod(
        metadata=ObjectMeta(name="web", uid="u1"),
        spec=PodSpec(containers=containers, nodeName="n1"),
        status=PodStatus(podIP="10.42.0.5", podIPs=(PodIP(ip="10.42.0.5"),)),
    )


@pytest.mark.parametrize(
    ("text", "ports", "expected"),
    [
        ("web:81", (8080,), 81),
        ("web", (8080, 9090), 8080),
        ("web", (), 80),
        ("https:web:", (), 443),
    ],
)
def test_ports_of_a_pod(text: str, ports: tuple[int, ...], expected: int) -> None:
    assert proxying.port_of_pod(proxying.place(text, "pod"), pod(*ports)) == expected


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "٣", "9" * 5000])
def test_what_is_no_port_of_a_pod(port: str) -> None:
    with pytest.raises(StatusError) as raised:
        proxying.port_of_pod(proxying.place(f"web:{port}", "pod"), pod())
    assert raised.value.code == 400


def test_a_pod_without_an_address_is_refused() -> None:
    with pytest.raises(StatusError, match='pod "web" has no address'):
        proxying.address_of(Pod(metadata=ObjectMeta(name="web")))


def test_a_number_is_that_of_a_port_of_the_service() -> None:
    service = Service(spec=ServiceSpec(ports=(ServicePort(port=80, name="http"),)))
    assert proxying.port_name(proxying.place("web:80", "service"), service) == "http"
    with pytest.raises(StatusError, match='no service port 81 found for service "web"'):
        proxying.port_name(proxying.place("web:81", "service"), service)


def test_endpoints_that_are_ready_are_tried_in_turn() -> None:
    ready = tuple(EndpointAddress(ip=f"10.42.0.{n}") for n in (1, 2, 3))
    subset = EndpointSubset(
        addresses=ready,
        notReadyAddresses=(EndpointAddress(ip="10.42.0.9"),),
        ports=(EndpointPort(name="http", port=8080), EndpointPort(name="other", port=1)),
    )
    endpoints = Endpoints(subsets=(subset,))
    found = [(a.ip[-1], port) for a, port in proxying.candidates(endpoints, "http", 0.5)]
    assert found == [("2", 8080), ("3", 8080), ("1", 8080)]
    assert not list(proxying.candidates(endpoints, "", 0.5))


@pytest.mark.parametrize(
    ("ip", "uid", "expected"),
    [
        ("10.42.0.5", "u1", True),
        ("10.42.0.5", "", True),
        ("10.42.0.5", "u0", False),
        ("127.0.0.1", "u1", False),
        ("169.254.169.254", "u1", False),
        ("10.42.0.6", "u1", False),
    ],
)
def test_an_endpoint_must_be_that_of_its_pod(ip: str, uid: str, expected: bool) -> None:
    reference = ObjectReference(kind="Pod", namespace="default", name="web", uid=uid)
    assert proxying.is_of(pod(), EndpointAddress(ip=ip, targetRef=reference)) == expected
