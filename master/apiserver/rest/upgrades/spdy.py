"""SPDY/3.1 as a server speaks it to kubectl: bytes in, events out, no IO.

    frame    control: 1 bit set, version, type, flags, length, payload
             data:    1 bit clear, stream, flags, length, payload
    stream   opened by the client (SYN_STREAM), answered (SYN_REPLY), half closed by either side
             (FIN on a data frame), or reset by either (RST_STREAM)

As moby/spdystream, which Kubernetes uses on both sides: no flow control, nothing is pushed, data of
streams that are not open is dropped. Settings, windows and further headers are read and ignored.
The SPDY protocol, draft 3.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Flag, auto

from master.apiserver.rest.upgrades.dictionary import DICTIONARY

STREAMS_MAX = 256
"""Open at once on a connection; further ones are refused. kubectl opens two for each connection
that it forwards."""
CONTROL_FRAME_MAX_BYTES = 16 << 10
HEADER_BLOCK_MAX_BYTES = 2 << 10
"""Of one stream's headers, once they are decompressed; kubectl's have about a hundred bytes."""
HEADERS_MAX = 16
FRAME_DATA_MAX_BYTES = (32 << 10) - 8
"""Of the data in a frame of ours: the whole of it is one piece of `outflow`."""

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS = 1, 2, 3, 4
PING, GOAWAY, HEADERS, WINDOW_UPDATE = 6, 7, 8, 9
"""Types of control frames."""
FIN = 0x01
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
"""Why a stream is reset."""
GOAWAY_OK, GOAWAY_PROTOCOL_ERROR = 0, 1

_VERSION = 3
_CONTROL = 0x8000
_HEAD_BYTES = 8


class ProtocolError(Exception):
    """The client does not speak SPDY/3.1 as it should, or exceeds a bound; says in which way."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The client has opened a stream; of a header with several values, the first one counts."""

    stream_id: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Some bytes of a stream, not necessarily a whole frame."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The client sends nothing more on a stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The client takes and sends nothing more on a stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class AnswerDue:
    """Bytes that must be sent: the echo of a ping, the refusal of a stream."""

    data: bytes


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The client ends the connection; whatever follows is ignored."""


Event = StreamOpened | DataReceived | StreamEnded | StreamReset | AnswerDue | GoneAway


class _Open(Flag):
    """Which sides of a stream may still send."""

    CLIENT = auto()
    SERVER = auto()


class Connection:
    """The server's side of one connection."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._open: dict[int, _Open] = {}
        self._last_id = 0
        self._last_ping = 0
        """Ours are even."""
        self._data_stream, self._data_left, self._data_fin = 0, 0, False
        """The data frame that is being received."""
        self._gone = False
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        # All blocks that we send are empty; a window as large as the default takes 256 KiB.
        self._deflate = zlib.compressobj(wbits=11, memLevel=1, zdict=DICTIONARY)
        self._control: dict[int, Callable[[int, bytes], Iterator[Event]]] = {
            SYN_STREAM: self._syn_stream,
            SYN_REPLY: self._more_headers,
            RST_STREAM: self._rst_stream,
            SETTINGS: _ignored,
            PING: self._ping,
            GOAWAY: self._goaway,
            HEADERS: self._more_headers,
            WINDOW_UPDATE: _ignored,
        }

    # --- What comes in

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the client's next bytes mean, worked out event by event.

        The iterator must be exhausted before the next call. Raises ProtocolError, after which
        nothing more can be received.
        """
        self._received += data
        while not self._gone:
            if self._data_left or self._data_fin:
                if not self._received and self._data_left:
                    return
                yield from self._data()
            elif len(self._received) < _HEAD_BYTES:
                return
            elif self._received[0] & 0x80:
                events = self._control_frame()
                if events is None:
                    return
                yield from events
            else:
                self._begin_data()
        self._received.clear()

    def _begin_data(self) -> None:
        stream_id, flags_length = struct.unpack_from(">II", self._received)
        if stream_id == 0:
            raise ProtocolError("data of stream 0")
        del self._received[:_HEAD_BYTES]
        self._data_stream, self._data_left = stream_id, flags_length & 0xFFFFFF
        self._data_fin = bool(flags_length >> 24 & FIN)

    def _data(self) -> Iterator[Event]:
        """What has come of a data frame: it may be large, and is never held as a whole."""
        data = bytes(self._received[: self._data_left])
        del self._received[: len(data)]
        self._data_left -= len(data)
        if data and _Open.CLIENT in self._sides(self._data_stream):
            yield DataReceived(self._data_stream, data)
        if self._data_fin and not self._data_left:
            self._data_fin = False
            yield from self._client_ends(self._data_stream)

    def _control_frame(self) -> Iterator[Event] | None:
        """What a control frame means; None as long as it is not whole."""
        version, kind, flags_length = struct.unpack_from(">HHI", self._received)
        length = flags_length & 0xFFFFFF
        if version & ~_CONTROL != _VERSION:
            raise ProtocolError(f"version {version & ~_CONTROL} is not SPDY/3")
        if kind not in self._control:
            raise ProtocolError(f"unknown type of frame: {kind}")
        if length > CONTROL_FRAME_MAX_BYTES:
            raise ProtocolError(f"a control frame of {length} bytes is too long")
        if len(self._received) < _HEAD_BYTES + length:
            return None
        payload = bytes(self._received[_HEAD_BYTES : _HEAD_BYTES + length])
        del self._received[: _HEAD_BYTES + length]
        return self._control[kind](flags_length >> 24, payload)

    def _syn_stream(self, flags: int, payload: bytes) -> Iterator[Event]:
        if len(payload) < 10:
            raise ProtocolError("SYN_STREAM is too short")
        stream_id = int.from_bytes(payload[:4], "big")
        headers = self._headers(payload[10:])
        if stream_id % 2 == 0 or not self._last_id < stream_id <= 0x7FFFFFFF:
            raise ProtocolError(f"stream {stream_id} after {self._last_id}: ids are odd and rise")
        self._last_id = stream_id
        if len(self._open) >= STREAMS_MAX:
            yield AnswerDue(_rst_stream(stream_id, REFUSED_STREAM))
            return
        self._open[stream_id] = _Open.CLIENT | _Open.SERVER
        yield StreamOpened(stream_id, headers)
        if flags & FIN:
            yield from self._client_ends(stream_id)

    def _more_headers(self, flags: int, payload: bytes) -> Iterator[Event]:
        """Headers that nobody needs: decompressed, since those that follow build on them."""
        if len(payload) < 4:
            raise ProtocolError("a frame of headers is too short")
        self._headers(payload[4:])
        if flags & FIN:
            yield from self._client_ends(int.from_bytes(payload[:4], "big"))

    def _rst_stream(self, flags: int, payload: bytes) -> Iterator[Event]:
        stream_id, status = _two_words(payload, "RST_STREAM")
        if not stream_id or not status:
            raise ProtocolError("RST_STREAM without stream or status")
        if self._open.pop(stream_id, None) is not None:
            yield StreamReset(stream_id)

    def _ping(self, flags: int, payload: bytes) -> Iterator[Event]:
        if len(payload) != 4 or flags or not any(payload):
            raise ProtocolError("PING is not one id")
        # An even id would be the echo of a ping of ours.
        if payload[-1] & 1:
            yield AnswerDue(_frame(PING, payload))

    def _goaway(self, flags: int, payload: bytes) -> Iterator[Event]:
        _two_words(payload, "GOAWAY")
        self._gone = True
        yield GoneAway()

    def _client_ends(self, stream_id: int) -> Iterator[Event]:
        sides = self._sides(stream_id)
        if _Open.CLIENT in sides:
            self._now(stream_id, sides & ~_Open.CLIENT)
            yield StreamEnded(stream_id)

    def _headers(self, block: bytes) -> dict[str, str]:
        """Decompress and parse a block of headers, no further than its bounds."""
        try:
            plain = self._inflate.decompress(block, HEADER_BLOCK_MAX_BYTES + 1)
        except zlib.error as error:
            raise ProtocolError("headers are not compressed as they should be") from error
        if len(plain) > HEADER_BLOCK_MAX_BYTES:
            raise ProtocolError(f"headers have more than {HEADER_BLOCK_MAX_BYTES} bytes")
        if self._inflate.eof:
            raise ProtocolError("the compressed headers have an end")
        return _parse(plain)

    # --- What goes out

    def reply(self, stream_id: int) -> bytes:
        """The acceptance of a stream, without headers."""
        block = self._deflate.compress(bytes(4)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _frame(SYN_REPLY, stream_id.to_bytes(4, "big") + block)

    def data(self, stream_id: int, data: bytes | memoryview, *, fin: bool = False) -> bytes:
        """One frame of at most FRAME_DATA_MAX_BYTES; after `fin` we send nothing more on it.

        The stream must be writable.
        """
        if not self.writable(stream_id) or len(data) > FRAME_DATA_MAX_BYTES:
            raise ValueError(f"no frame of {len(data)} bytes can be sent on stream {stream_id}")
        if fin:
            self._now(stream_id, self._sides(stream_id) & ~_Open.SERVER)
        return struct.pack(">II", stream_id, fin << 24 | len(data)) + data

    def reset(self, stream_id: int, status: int = CANCEL) -> bytes:
        """The end of a stream in both directions; nothing if it has ended already."""
        if self._open.pop(stream_id, None) is None:
            return b""
        return _rst_stream(stream_id, status)

    def ping(self) -> bytes:
        """A ping, whose echo is ignored."""
        self._last_ping = self._last_ping % 0x7FFFFFFE + 2
        return _frame(PING, self._last_ping.to_bytes(4, "big"))

    def goaway(self, status: int = GOAWAY_OK) -> bytes:
        """The end of the connection."""
        return _frame(GOAWAY, struct.pack(">II", self._last_id, status))

    def writable(self, stream_id: int) -> bool:
        """Whether data of ours may be sent on a stream."""
        return _Open.SERVER in self._sides(stream_id)

    def _sides(self, stream_id: int) -> _Open:
        return self._open.get(stream_id, _Open(0))

    def _now(self, stream_id: int, sides: _Open) -> None:
        if sides:
            self._open[stream_id] = sides
        else:
            del self._open[stream_id]


def _ignored(flags: int, payload: bytes) -> Iterator[Event]:
    return iter(())


def _two_words(payload: bytes, name: str) -> tuple[int, int]:
    if len(payload) != 8:
        raise ProtocolError(f"{name} has {len(payload)} bytes")
    first, second = struct.unpack(">II", payload)
    return first & 0x7FFFFFFF, second


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", _CONTROL | _VERSION, kind, len(payload)) + payload


def _rst_stream(stream_id: int, status: int) -> bytes:
    return _frame(RST_STREAM, struct.pack(">II", stream_id, status))


def _parse(block: bytes) -> dict[str, str]:
    """A decompressed block: a count, then names and values, each behind its length."""
    count, rest = _count(block)
    if count > HEADERS_MAX:
        raise ProtocolError(f"{count} headers are more than {HEADERS_MAX}")
    headers: dict[str, str] = {}
    for _ in range(count):
        name, rest = _text(rest)
        value, rest = _text(rest)
        if name != name.lower() or name in headers:
            raise ProtocolError("the name of a header is not in lower case, or there twice")
        headers[name] = value.split("\0")[0]
    if rest:
        raise ProtocolError("headers are longer than they say")
    return headers


def _count(block: bytes) -> tuple[int, bytes]:
    if len(block) < 4:
        raise ProtocolError("headers are shorter than they say")
    return int.from_bytes(block[:4], "big"), block[4:]


def _text(block: bytes) -> tuple[str, bytes]:
    length, rest = _count(block)
    if len(rest) < length:
        raise ProtocolError("headers are shorter than they say")
    try:
        return rest[:length].decode(), rest[length:]
    except UnicodeDecodeError as error:
        raise ProtocolError("a header is not UTF-8") from error
