"""What the `conntrack` program prints."""

from __future__ import annotations

from node.kubeproxy.dataplane.conntrack import parse
from node.kubeproxy.rules import Flow

LISTED = b"""\
udp      17 27 src=10.42.1.9 dst=10.43.0.10 sport=40000 dport=80 [UNREPLIED] src=10.42.1.2 \
dst=10.42.1.9 sport=8080 dport=40000 mark=0 use=1
udp      17 117 src=10.42.1.9 dst=192.0.2.1 sport=40001 dport=30053 packets=3 bytes=87 \
src=10.42.1.4 dst=192.0.2.1 sport=53 dport=1027 packets=3 bytes=90 [ASSURED] mark=0 use=1
udp      17 27 src=10.42.1.7 dst=10.43.0.10 sport=40002 dport=80 src=10.42.1.2 dst=10.42.1.7 \
sport=8080 dport=40002 [ASSURED] mark=16384 use=1
"""


def test_a_flow_is_where_it_was_sent_and_who_answers() -> None:
    """Two clients of one endpoint are one; counters and states stand in between."""
    assert parse(LISTED) == {
        Flow("10.43.0.10", 80, "10.42.1.2"),
        Flow("192.0.2.1", 30053, "10.42.1.4"),
    }


def test_nothing_is_no_flow() -> None:
    assert parse(b"") == set()
