"""Which ports of the machine conflict, and the rules that lead them to pods."""

from __future__ import annotations

import re

import pytest

from node.network.hostports import PortsOfPod, conflict, rules
from node.runtime.base import HostPort

WEB = PortsOfPod("n/web", "10.42.1.2", (HostPort(80, "TCP", 8080), HostPort(53, "UDP", 53)))
ONE = PortsOfPod("n/one", "10.42.1.3", (HostPort(443, "TCP", 8443, "192.0.2.1"),))


@pytest.mark.parametrize(
    ("port", "taken"),
    [
        (HostPort(80, "TCP", 1), "host port 80/TCP is taken by pod n/web"),
        (HostPort(80, "TCP", 1, "127.0.0.1"), "host port 80/TCP is taken by pod n/web"),
        (HostPort(80, "UDP", 1), ""),
        (HostPort(81, "TCP", 8080), ""),
        (HostPort(443, "TCP", 1), "host port 443/TCP is taken by pod n/one"),
        (HostPort(443, "TCP", 1, "192.0.2.1"), "host port 443/TCP is taken by pod n/one"),
        (HostPort(443, "TCP", 1, "192.0.2.2"), ""),
    ],
)
def test_conflicts(port: HostPort, taken: str) -> None:
    assert conflict(PortsOfPod("n/new", "10.42.1.9", (port,)), [WEB, ONE]) == taken


def elements(script: str, name: str) -> str:
    """What a map or set of the table holds."""
    found = re.search(rf"(map|set) {name} {{\n[^}}]*?elements = {{ (.*?) }}", script)
    return found[2] if found else ""


def test_the_rules_of_two_pods() -> None:
    script = rules([WEB, ONE])
    assert elements(script, "everywhere") == (
        "tcp . 80 : 10.42.1.2 . 8080, udp . 53 : 10.42.1.2 . 53"
    )
    assert elements(script, "somewhere") == "192.0.2.1 . tcp . 443 : 10.42.1.3 . 8443"
    assert elements(script, "pods") == "10.42.1.2, 10.42.1.3"


def test_without_pods_nothing_is_led_anywhere() -> None:
    script = rules([])
    assert "elements" not in script
    assert script.startswith("table ip wherry-hostports { }\ndelete table ip wherry-hostports\n")
