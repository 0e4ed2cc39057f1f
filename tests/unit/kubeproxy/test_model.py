"""Where a connection goes, in the words that `wherry proxy trace` prints."""

from __future__ import annotations

from typing import Any

import pytest

from node.kubeproxy.model import Answer, route
from node.kubeproxy.table import Table
from tests.unit.kubeproxy.objects import FACTS, NODE_IP, VIP, endpoint, endpoint_slice, service

POD, OUTSIDE = "10.42.1.9", "203.0.113.5"
HERE, THERE = endpoint("10.42.1.2"), endpoint("10.42.2.2", "n2")


def ask(client: str, address: str, port: int, *ends: dict[str, Any], **spec: Any) -> Answer:
    """The answer for a service with a node port."""
    table = Table(FACTS)
    ports = ({"port": 80, "protocol": "TCP", "nodePort": 30080},)
    table.put_service("default/web", service(ports=ports, **spec))
    table.put_slice("default/web-1", endpoint_slice(*ends))
    return route(table, client, address, port, "tcp")


@pytest.mark.parametrize(
    ("client", "address", "port", "ends", "spec", "wanted"),
    [
        (POD, VIP, 80, (HERE, THERE), {}, ("endpoints", 2, False)),
        (OUTSIDE, VIP, 80, (HERE, THERE), {}, ("endpoints", 2, True)),
        ("10.42.1.2", VIP, 80, (HERE,), {}, ("endpoints", 1, True)),
        (POD, VIP, 80, (), {}, ("refused", 0, False)),
        (POD, VIP, 81, (HERE,), {}, ("refused", 0, False)),
        (POD, VIP, 80, (THERE,), {"internalTrafficPolicy": "Local"}, ("dropped", 0, False)),
        (OUTSIDE, NODE_IP, 30080, (HERE, THERE), {}, ("endpoints", 2, True)),
        (OUTSIDE, NODE_IP, 30080, (), {}, ("refused", 0, False)),
        (OUTSIDE, "127.0.0.1", 30080, (HERE,), {}, ("untouched", 0, False)),
        (OUTSIDE, "198.51.100.1", 80, (HERE,), {}, ("untouched", 0, False)),
    ],
)
def test_a_connection_goes_where_the_policy_says(
    client: str, address: str, port: int, ends: Any, spec: Any, wanted: tuple[str, int, bool]
) -> None:
    answer = ask(client, address, port, *ends, **spec)
    assert (answer.fate, len(answer.endpoints), answer.masqueraded) == wanted
    assert answer.why


@pytest.mark.parametrize(
    ("client", "ends", "wanted"),
    [
        (OUTSIDE, (HERE, THERE), ("endpoints", 1, False)),
        (OUTSIDE, (THERE,), ("dropped", 0, False)),
        (POD, (HERE, THERE), ("endpoints", 2, False)),
        (NODE_IP, (HERE, THERE), ("endpoints", 2, True)),
    ],
)
def test_external_policy_local_keeps_the_client(
    client: str, ends: Any, wanted: tuple[str, int, bool]
) -> None:
    answer = ask(client, NODE_IP, 30080, *ends, externalTrafficPolicy="Local")
    assert (answer.fate, len(answer.endpoints), answer.masqueraded) == wanted
