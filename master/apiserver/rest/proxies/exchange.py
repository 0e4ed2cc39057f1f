"""One request and its answer, in HTTP/1.1 over a wire."""

from __future__ import annotations

from collections.abc import AsyncIterator

import h11

from common.api import errors
from master.apiserver.rest.proxies.wires import Wire

HEAD_MAX_BYTES = 64 << 10
"""Of an answer's first line and headers, and of the line of a chunk."""


class Exchange:
    """The client's side. What a program says that is no HTTP raises StatusError 503."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)

    async def send(self, event: h11.Event) -> None:
        """Send a part of the request."""
        try:
            data = self._http.send(event)
        except h11.LocalProtocolError as error:
            raise errors.bad_request(f"the request cannot be passed on: {error}") from error
        if data:
            await self.wire.write(data)

    async def head(self) -> h11.Response | h11.InformationalResponse:
        """The head of the answer; an informational one has the code 101."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return event

    async def body(self) -> AsyncIterator[bytes]:
        """The body of the answer, as it comes."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    @property
    def beyond(self) -> bytes:
        """What has come behind the head, in the protocol that was switched to."""
        return self._http.trailing_data[0]

    async def _next(self) -> h11.Event:
        while True:
            try:
                event = self._http.next_event()
                if isinstance(event, h11.Event):
                    return event
                if event is h11.PAUSED:
                    raise errors.unavailable("error trying to reach service: the answer has no end")
                self._http.receive_data(await self.wire.read())
            except h11.RemoteProtocolError as error:
                raise errors.unavailable(f"error trying to reach service: {error}") from error
