"""The client's side of SPDY/3.1, written after the draft: what kubectl would send and read."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from master.apiserver.rest.upgrades.dictionary import DICTIONARY


class Reply(NamedTuple):
    """A stream was accepted."""

    stream_id: int
    headers: bytes


class Data(NamedTuple):
    """A data frame."""

    stream_id: int
    data: bytes
    fin: bool


class Control(NamedTuple):
    """Any other frame: RST_STREAM 3, PING 6, GOAWAY 7."""

    kind: int
    words: tuple[int, ...]


Frame = Reply | Data | Control


def block(headers: list[tuple[bytes, bytes]], count: int | None = None) -> bytes:
    """Headers before compression; `count` instead of how many there are."""
    made = struct.pack(">I", len(headers) if count is None else count)
    for text in (text for pair in headers for text in pair):
        made += struct.pack(">I", len(text)) + text
    return made


def control(kind: int, payload: bytes, *, flags: int = 0, version: int = 3) -> bytes:
    """A control frame."""
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(payload)) + payload


def data(stream_id: int, payload: bytes, *, fin: bool = False) -> bytes:
    """A data frame."""
    return struct.pack(">II", stream_id, fin << 24 | len(payload)) + payload


def reset(stream_id: int, status: int = 5) -> bytes:
    """RST_STREAM."""
    return control(3, struct.pack(">II", stream_id, status))


def ping(number: int) -> bytes:
    """PING."""
    return control(6, struct.pack(">I", number))


def goaway() -> bytes:
    """GOAWAY."""
    return control(7, bytes(8))


class SpdyClient:
    """One connection: compresses what it sends, and takes apart what it gets."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(9, zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._received = b""
        self._next_id = 1

    def compress(self, plain: bytes) -> bytes:
        """In the connection's context, as far as it must be to be read."""
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def syn_stream(self, stream_id: int, plain: bytes, *, flags: int = 0) -> bytes:
        """SYN_STREAM with headers as they are given."""
        head = struct.pack(">IIBB", stream_id, 0, 0, 0)
        return control(1, head + self.compress(plain), flags=flags)

    def open(self, headers: dict[str, str], *, fin: bool = False) -> bytes:
        """The next stream."""
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        made = self.syn_stream(self._next_id, block(pairs), flags=int(fin))
        self._next_id += 2
        return made

    def receive(self, received: bytes) -> list[Frame]:
        """The frames that are whole now."""
        self._received += received
        frames: list[Frame] = []
        while len(self._received) >= 8:
            first, second = struct.unpack_from(">II", self._received)
            length = second & 0xFFFFFF
            if len(self._received) < 8 + length:
                break
            payload = self._received[8 : 8 + length]
            self._received = self._received[8 + length :]
            frames.append(self._frame(first, second >> 24, payload))
        return frames

    def _frame(self, first: int, flags: int, payload: bytes) -> Frame:
        if not first >> 31:
            return Data(first, payload, bool(flags & 1))
        assert first >> 16 == 0x8003
        kind = first & 0xFFFF
        if kind == 2:
            (stream_id,) = struct.unpack_from(">I", payload)
            return Reply(stream_id, self._inflate.decompress(payload[4:]))
        return Control(kind, struct.unpack(f">{len(payload) // 4}I", payload))
