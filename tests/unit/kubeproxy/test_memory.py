"""What a service costs: nodes are small, and each of them knows every service."""

from __future__ import annotations

import tracemalloc

from node.kubeproxy.plan import Ruleset
from node.kubeproxy.rules import piece
from node.kubeproxy.table import Table
from tests.unit.kubeproxy.objects import FACTS, endpoint, endpoint_slice, service

SERVICES = 200
BYTES_MAX = 4_500
"""Of the table and the ruleset; a thousand such services are 4.5 MB of the proxy's 60 MiB."""


def test_a_service_of_ten_endpoints_takes_little_memory() -> None:
    ends = [endpoint(f"10.42.1.{number}", f"node-{number}") for number in range(2, 12)]
    tracemalloc.start()
    try:
        table, ruleset = Table(FACTS), Ruleset()
        for number in range(SERVICES):
            key = f"default/s{number}"
            address = f"10.43.1.{number}"
            table.put_service(key, service(f"s{number}", clusterIP=address))
            table.put_slice(f"{key}-1", endpoint_slice(*ends, name=f"s{number}"))
            ruleset.commit({key: piece(table.ports(key), FACTS)})
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ruleset.pieces) == SERVICES
    assert taken / SERVICES <= BYTES_MAX
