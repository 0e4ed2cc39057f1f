"""Which protocol is taken of those that a client offers; refusals are a Status.

As Kubernetes does it: k8s.io/streaming, pkg/httpstream (Handshake) and pkg/httpstream/wsstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multidict import MultiMapping

from common.api import errors
from common.api.errors import StatusError

SPDY = "SPDY/3.1"
STREAM_PROTOCOL_HEADER = "X-Stream-Protocol-Version"
WEBSOCKET_PROTOCOL_HEADER = "Sec-WebSocket-Protocol"


def wants_spdy(headers: MultiMapping[str]) -> bool:
    """Whether a request asks to go on in SPDY."""
    return _wants(headers, SPDY)


def wants_websocket(headers: MultiMapping[str]) -> bool:
    """Whether a request asks to go on as a WebSocket."""
    return _wants(headers, "websocket")


def _wants(headers: MultiMapping[str], protocol: str) -> bool:
    connection = {word.lower() for word in _words(headers.getall("Connection", []))}
    upgrade = {word.lower() for word in _words(headers.getall("Upgrade", []))}
    return "upgrade" in connection and protocol.lower() in upgrade


def stream_protocol(headers: MultiMapping[str], accepted: Sequence[str]) -> str:
    """What is spoken on the streams of a SPDY connection: the first offer that is accepted.

    Raises StatusError 400 when nothing is offered, 403 when nothing of it is accepted.
    """
    offered = _words(headers.getall(STREAM_PROTOCOL_HEADER, []))
    if not offered:
        raise errors.bad_request(f"no protocol is offered in {STREAM_PROTOCOL_HEADER}")
    return _chosen(offered, accepted, 403, "Forbidden")


def websocket_protocol(headers: MultiMapping[str], accepted: Sequence[str]) -> str:
    """What is spoken on a WebSocket: the first offer that is accepted.

    Raises StatusError 400 when there is none.
    """
    offered = _words(headers.getall(WEBSOCKET_PROTOCOL_HEADER, []))
    if not offered:
        raise errors.bad_request(f"no protocol is offered in {WEBSOCKET_PROTOCOL_HEADER}")
    return _chosen(offered, accepted, 400, "BadRequest")


def _chosen(offered: Sequence[str], accepted: Sequence[str], code: int, reason: str) -> str:
    for protocol in offered:
        if protocol in accepted:
            return protocol
    message = (
        f"none of the protocols is spoken here: the client offers {', '.join(offered)}; "
        f"accepted are {', '.join(accepted)}"
    )
    raise StatusError(code, reason, message)


def _words(values: Iterable[str]) -> list[str]:
    """What stands between commas, in all headers of a name."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()]
