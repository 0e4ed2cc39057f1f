"""Which protocol is taken of those that a client offers."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from common.api.errors import StatusError
from master.apiserver.rest.upgrades import negotiation

ACCEPTED = ("v5.channel.k8s.io", "v4.channel.k8s.io")


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    """Of a request."""
    return CIMultiDict(pairs)


def test_an_upgrade_is_asked_for_in_two_headers() -> None:
    """In whatever case, and among other words."""
    asked = headers(("connection", "keep-alive, upgrade"), ("upgrade", "spdy/3.1"))
    assert negotiation.wants_spdy(asked)
    assert not negotiation.wants_websocket(asked)
    asked = headers(("Connection", "Upgrade"), ("Upgrade", "websocket"))
    assert negotiation.wants_websocket(asked)
    assert not negotiation.wants_spdy(asked)
    assert not negotiation.wants_spdy(headers(("Upgrade", "SPDY/3.1")))
    assert not negotiation.wants_spdy(headers(("Connection", "Upgrade")))


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (["v4.channel.k8s.io"], "v4.channel.k8s.io"),
        (["v4.channel.k8s.io", "v5.channel.k8s.io"], "v4.channel.k8s.io"),
        (["v9.channel.k8s.io, v5.channel.k8s.io,v4.channel.k8s.io"], "v5.channel.k8s.io"),
        (["", " , v9.channel.k8s.io", "v4.channel.k8s.io "], "v4.channel.k8s.io"),
    ],
)
def test_the_first_offer_that_is_accepted(offers: list[str], chosen: str) -> None:
    """The client's order counts; offers stand in one header or in several."""
    streams = headers(*(("x-stream-protocol-version", offer) for offer in offers))
    assert negotiation.stream_protocol(streams, ACCEPTED) == chosen
    websocket = headers(*(("sec-websocket-protocol", offer) for offer in offers))
    assert negotiation.websocket_protocol(websocket, ACCEPTED) == chosen


def test_refusals() -> None:
    """400 for nothing; for nothing that is accepted 403 and, of a WebSocket, 400."""
    for choose in (negotiation.stream_protocol, negotiation.websocket_protocol):
        with pytest.raises(StatusError, match="no protocol is offered in") as nothing:
            choose(headers(), ACCEPTED)
        assert nothing.value.code == 400
    offers = headers(("X-Stream-Protocol-Version", "v1"), ("Sec-WebSocket-Protocol", "v1"))
    both = "the client offers v1; accepted are v5.channel.k8s.io, v4.channel.k8s.io"
    with pytest.raises(StatusError, match=both) as refused:
        negotiation.stream_protocol(offers, ACCEPTED)
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    with pytest.raises(StatusError, match=both) as refused:
        negotiation.websocket_protocol(offers, ACCEPTED)
    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")
