"""Which addresses a node may say that it has."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.errors import StatusError
from tests.unit.apiserver.conftest import STRATEGIES, Writer


def node(kind: str, address: str) -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": "n 1"}, {"type": kind, "address": address}]
    return {"metadata": {"name": "n1"}, "status": {"addresses": addresses}}


REFUSED = [
    ("x", "must be a valid IP address"),
    ("", "must be a valid IP address"),
    ("010.0.0.1", "must be a valid IP address"),
    ("0.0.0.0", "may not be unspecified"),
    ("::", "may not be unspecified"),
    ("169.254.1.1", "may not be in the link-local range"),
    ("fe80::1", "may not be in the link-local range"),
    ("224.0.0.1", "may not be in the link-local multicast range"),
    ("239.1.2.3", "may not be in the multicast range"),
    ("255.255.255.255", "may not be the broadcast address"),
    ("10.244.3.4", "may not be in the range of pods (10.244.0.0/16)"),
    ("10.96.0.1", "may not be in the range of services (10.96.0.0/16)"),
]


@pytest.mark.parametrize(("address", "problem"), REFUSED)
@pytest.mark.parametrize("kind", ["InternalIP", "ExternalIP"])
def test_refused(writer: Writer, kind: str, address: str, problem: str) -> None:
    with pytest.raises(StatusError) as raised:
        writer.create("nodes", node(kind, address))
    assert raised.value.code == 422
    assert f'status.addresses[1].address: Invalid value: "{address}": {problem}' in str(
        raised.value.message
    )
    old = writer.create("nodes", node(kind, "192.0.2.1"))
    new = writer.decode("nodes", node(kind, address))
    strategy = STRATEGIES["nodes"]
    assert any(problem in str(found) for found in strategy.validate_status_update(new, old))
    assert strategy.validate_status_update(new, new) == [], "what is there may stay"


@pytest.mark.parametrize("address", ["192.0.2.1", "8.8.8.8", "2001:db8::1", "127.0.0.1"])
def test_taken(writer: Writer, address: str) -> None:
    made = writer.create("nodes", node("InternalIP", address))
    assert made.status.addresses[1].address == address
