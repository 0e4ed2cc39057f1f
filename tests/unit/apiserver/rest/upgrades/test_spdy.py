"""SPDY without IO: what comes in, what goes out, and what nobody may do to us."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.apiserver.rest.upgrades import spdy
from master.apiserver.rest.upgrades.dictionary import DICTIONARY
from master.apiserver.rest.upgrades.spdy import (
    AnswerDue,
    Connection,
    DataReceived,
    Event,
    GoneAway,
    ProtocolError,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from tests.fakes import spdyclient as client
from tests.fakes.spdyclient import Control, Data, Reply, SpdyClient


def received(connection: Connection, data: bytes) -> list[Event]:
    """All events of some bytes."""
    return list(connection.receive(data))


def opened(count: int = 1) -> Connection:
    """A connection with so many open streams: 1, 3, ..."""
    connection, peer = Connection(), SpdyClient()
    for _ in range(count):
        received(connection, peer.open({"streamtype": "data"}))
    return connection


def refused(data: bytes, *, match: str, connection: Connection | None = None) -> None:
    """What comes breaks the rules."""
    with pytest.raises(ProtocolError, match=match):
        received(connection or Connection(), data)


def test_the_dictionary_is_the_one_that_both_sides_know() -> None:
    """Its length and its checksum, which every compressed stream names."""
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


def test_streams_are_opened_with_their_headers() -> None:
    """One context of compression for the whole connection."""
    connection, peer = Connection(), SpdyClient()
    first = {"streamtype": "error", "port": "8080", "requestid": "0"}
    assert received(connection, peer.open(first)) == [StreamOpened(1, first)]
    second = first | {"streamtype": "data"}
    assert received(connection, peer.open(second)) == [StreamOpened(3, second)]


def test_of_a_header_with_several_values_the_first_counts() -> None:
    """As Go's Header.Get has it."""
    connection, peer = Connection(), SpdyClient()
    assert received(connection, peer.open({"port": "1\x002"})) == [StreamOpened(1, {"port": "1"})]


def test_a_stream_can_be_opened_and_half_closed_at_once() -> None:
    """FIN on SYN_STREAM: the error stream of a port-forward."""
    connection, peer = Connection(), SpdyClient()
    events = received(connection, peer.open({}, fin=True) + client.data(1, b"late"))
    assert events == [StreamOpened(1, {}), StreamEnded(1)]
    assert connection.writable(1)


def test_data_and_half_close() -> None:
    """What follows a FIN is dropped; one is enough."""
    connection = opened()
    sent = client.data(1, b"ab") + client.data(1, b"c", fin=True) + client.data(1, b"d", fin=True)
    expected = [DataReceived(1, b"ab"), DataReceived(1, b"c"), StreamEnded(1)]
    assert received(connection, sent) == expected


def test_a_large_data_frame_is_handed_on_as_it_comes() -> None:
    """It is never held as a whole."""
    connection = opened()
    frame = client.data(1, b"abcdef", fin=True)
    assert received(connection, frame[:10]) == [DataReceived(1, b"ab")]
    assert received(connection, frame[10:]) == [DataReceived(1, b"cdef"), StreamEnded(1)]
    assert received(connection, struct.pack(">II", 1, 0xFFFFFF) + b"x") == []


def test_data_of_streams_that_are_not_open_is_dropped() -> None:
    """Unknown, reset by either side, or ended."""
    connection = opened(2)
    assert received(connection, client.data(9, b"x", fin=True)) == []
    assert received(connection, client.reset(1) + client.data(1, b"x")) == [StreamReset(1)]
    assert connection.reset(3) == client.reset(3)
    assert received(connection, client.data(3, b"x", fin=True) + client.reset(3)) == []
    assert connection.reset(3) == b""


def test_a_stream_is_forgotten_once_both_sides_have_ended() -> None:
    """In whichever order."""
    connection = opened(2)
    connection.data(1, b"", fin=True)
    assert not connection.writable(1)
    assert received(connection, client.data(1, b"", fin=True)) == [StreamEnded(1)]
    received(connection, client.data(3, b"", fin=True))
    connection.data(3, b"bye", fin=True)
    assert received(connection, client.reset(1) + client.reset(3)) == []


def test_pings_are_echoed_and_echoes_are_not() -> None:
    """A client's pings are odd."""
    connection = Connection()
    assert received(connection, client.ping(7)) == [AnswerDue(client.ping(7))]
    assert received(connection, client.ping(8)) == []


def test_nothing_follows_a_goaway() -> None:
    """Not even nonsense."""
    connection = opened()
    sent = client.goaway() + client.data(1, b"x") + b"\xff" * 99
    assert received(connection, sent) == [GoneAway()]
    assert received(connection, b"\xff" * 99) == []


def test_settings_and_windows_are_ignored() -> None:
    """As is a reply to what we have not opened."""
    connection, peer = Connection(), SpdyClient()
    sent = client.control(4, struct.pack(">III", 1, 4, 100)) + client.control(9, bytes(8))
    sent += client.control(2, struct.pack(">I", 2) + peer.compress(client.block([])))
    assert received(connection, sent) == []


def test_more_headers_are_read_since_later_ones_build_on_them() -> None:
    """They may end the stream."""
    connection, peer = Connection(), SpdyClient()
    received(connection, peer.open({}))
    more = struct.pack(">I", 1) + peer.compress(client.block([(b"name", b"value")]))
    assert received(connection, client.control(8, more, flags=1)) == [StreamEnded(1)]
    assert received(connection, peer.open({"name": "value"})) == [
        StreamOpened(3, {"name": "value"})
    ]


def test_streams_over_the_bound_are_refused_one_by_one() -> None:
    """The others go on, and an ended one makes room."""
    connection, peer = Connection(), SpdyClient()
    for _ in range(spdy.STREAMS_MAX):
        received(connection, peer.open({}))
    over = 2 * spdy.STREAMS_MAX + 1
    events = received(connection, peer.open({}))
    assert events == [AnswerDue(client.reset(over, spdy.REFUSED_STREAM))]
    assert received(connection, client.data(over, b"x") + client.reset(1)) == [StreamReset(1)]
    assert received(connection, peer.open({})) == [StreamOpened(over + 2, {})]


def test_what_we_send_is_read_by_a_client() -> None:
    """Replies, data, the ends."""
    connection, peer = opened(2), SpdyClient()
    sent = connection.reply(1) + connection.data(1, b"abc") + connection.reply(3)
    sent += connection.data(1, memoryview(b"de"), fin=True) + connection.reset(3)
    sent += connection.goaway(spdy.GOAWAY_PROTOCOL_ERROR)
    assert peer.receive(sent) == [
        Reply(1, bytes(4)),
        Data(1, b"abc", False),
        Reply(3, bytes(4)),
        Data(1, b"de", True),
        Control(3, (3, spdy.CANCEL)),
        Control(7, (3, 1)),
    ]


def test_nothing_is_sent_on_a_stream_that_takes_nothing() -> None:
    """And no frame is too long."""
    connection = opened()
    with pytest.raises(ValueError, match="stream 3"):
        connection.data(3, b"x")
    with pytest.raises(ValueError, match="stream 1"):
        connection.data(1, bytes(spdy.FRAME_DATA_MAX_BYTES + 1))
    connection.data(1, b"", fin=True)
    with pytest.raises(ValueError, match="stream 1"):
        connection.data(1, b"x")


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        (client.data(0, b"x"), "stream 0"),
        (client.control(1, bytes(12), version=2), "version 2"),
        (client.control(5, b""), "type of frame: 5"),
        (client.control(12, b""), "type of frame: 12"),
        (struct.pack(">HHI", 0x8003, 1, 0xFFFFFF), "too long"),
        (client.control(1, bytes(9)), "too short"),
        (client.control(1, b"\0\0\0\1" + bytes(20)), "not compressed"),
        (client.control(8, bytes(3)), "too short"),
        (client.control(3, bytes(4)), "RST_STREAM has 4"),
        (client.reset(1, 0), "without stream or status"),
        (client.reset(0), "without stream or status"),
        (client.ping(0), "PING"),
        (client.control(6, bytes(8)), "PING"),
        (client.control(7, bytes(4)), "GOAWAY has 4"),
    ],
)
def test_frames_that_break_the_rules(frame: bytes, match: str) -> None:
    """They are told from others, whatever they mean."""
    refused(frame, match=match)


@pytest.mark.parametrize(
    ("plain", "match"),
    [
        (client.block([], count=spdy.HEADERS_MAX + 1), "are more than"),
        (client.block([], count=0xFFFFFFFF), "are more than"),
        (client.block([], count=1), "shorter"),
        (b"\0\0", "shorter"),
        (struct.pack(">II", 1, 0xFFFFFFFF) + b"x", "shorter"),
        (client.block([(b"Port", b"1")]), "lower case"),
        (client.block([(b"port", b"1"), (b"port", b"2")]), "twice"),
        (client.block([(b"port", b"\xff")]), "UTF-8"),
        (client.block([]) + b"x", "longer"),
        (client.block([(b"a", bytes(spdy.HEADER_BLOCK_MAX_BYTES))]), "more than 2048 bytes"),
    ],
)
def test_headers_that_break_the_rules(plain: bytes, match: str) -> None:
    """Whatever they say of themselves, no more of them is worked on than is allowed."""
    refused(SpdyClient().syn_stream(1, plain), match=match)


def test_a_bomb_is_not_unpacked() -> None:
    """Ten megabytes of zeros fit into a frame; a little more than the bound is unpacked."""
    bomb = SpdyClient().syn_stream(1, bytes(10 << 20))
    assert len(bomb) < spdy.CONTROL_FRAME_MAX_BYTES
    refused(bomb, match="more than 2048 bytes")


def test_the_compressed_headers_of_a_connection_have_no_end() -> None:
    """Neither an end nor another dictionary."""
    ended = zlib.compressobj(zdict=DICTIONARY)
    whole = ended.compress(client.block([])) + ended.flush()
    refused(client.control(1, struct.pack(">IIH", 1, 0, 0) + whole), match="have an end")
    other = zlib.compressobj(zdict=b"another one")
    whole = other.compress(client.block([])) + other.flush(zlib.Z_SYNC_FLUSH)
    refused(client.control(1, struct.pack(">IIH", 1, 0, 0) + whole), match="not compressed")


@pytest.mark.parametrize("stream_id", [0, 2, 1, 3, 0x80000001])
def test_ids_are_odd_and_rise(stream_id: int) -> None:
    """After 3 comes no other than 5, 7, ..."""
    connection, peer = Connection(), SpdyClient()
    received(connection, peer.syn_stream(3, client.block([])))
    refused(peer.syn_stream(stream_id, client.block([])), match="odd", connection=connection)


# --- Any client

TEXT = st.text(st.characters(codec="ascii", categories=("Ll", "Nd")), min_size=1, max_size=8)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """What a client says that keeps to the rules, and perhaps some nonsense behind it."""
    peer, said, count = SpdyClient(), b"", 0
    for _ in range(draw(st.integers(0, 12))):
        stream_id = 2 * draw(st.integers(0, count)) + 1
        match draw(st.sampled_from(["open", "data", "reset", "ping", "empty"])):
            case "open":
                headers = draw(st.dictionaries(TEXT, TEXT, max_size=4))
                said += peer.open(headers, fin=draw(st.booleans()))
                count += 1
            case "data":
                fin = draw(st.booleans())
                said += client.data(stream_id, draw(st.binary(max_size=40)), fin=fin)
            case "reset":
                said += client.reset(stream_id)
            case "ping":
                said += client.ping(draw(st.integers(1, 0xFFFFFFFF)))
            case "empty":
                said += client.data(stream_id, b"")
    return said + draw(
        st.sampled_from([b"", client.goaway(), bytes(8) + b"x", b"\x80\x03\x00\x05"])
    )


def told(connection: Connection, parts: Iterable[bytes]) -> list[Event | str]:
    """All events of a conversation, with the bytes of a stream in one piece, and how it broke."""
    events: list[Event | str] = []
    try:
        for part in parts:
            for event in connection.receive(part):
                last = events[-1] if events else None
                if (
                    isinstance(event, DataReceived)
                    and isinstance(last, DataReceived)
                    and event.stream_id == last.stream_id
                ):
                    events[-1] = DataReceived(event.stream_id, last.data + event.data)
                else:
                    events.append(event)
    except ProtocolError as error:
        events.append(str(error))
    return events


@given(conversations(), st.lists(st.integers(0, 400), max_size=20))
def test_it_does_not_matter_how_the_bytes_are_cut(said: bytes, cuts: list[int]) -> None:
    """Frames are where they are; a break of the rules hides nothing that came before it."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(said)), len(said)]
    parts = [said[start:end] for start, end in pairwise(edges)]
    whole = told(Connection(), [said])
    assert told(Connection(), parts) == whole
    assert told(Connection(), (bytes([byte]) for byte in said)) == whole


@given(st.binary(max_size=300))
def test_nonsense_is_a_protocol_error_at_worst(nonsense: bytes) -> None:
    """No other exception, and no event with data that nobody sent."""
    for event in told(Connection(), [nonsense]):
        assert not isinstance(event, DataReceived | StreamOpened)


@given(conversations(), st.integers(0, 1 << 30))
def test_a_damaged_conversation_is_a_protocol_error_at_worst(said: bytes, seed: int) -> None:
    """Bits that are flipped anywhere, compressed headers among them."""
    rng, damaged = random.Random(seed), bytearray(said)
    for _ in range(min(3, len(said))):
        damaged[rng.randrange(len(said))] ^= 1 << rng.randrange(8)
    known: set[int] = set()
    for event in told(Connection(), [bytes(damaged)]):
        if isinstance(event, StreamOpened):
            known.add(event.stream_id)
        elif isinstance(event, DataReceived | StreamEnded | StreamReset):
            assert event.stream_id in known


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=50), st.booleans()), max_size=20))
def test_what_is_sent_is_what_a_client_gets(frames: list[tuple[int, bytes, bool]]) -> None:
    """In order, on each stream up to its end."""
    connection, peer = opened(4), SpdyClient()
    wanted, sent = [], b""
    for number, data, fin in frames:
        stream_id = 2 * number + 1
        if connection.writable(stream_id):
            sent += connection.data(stream_id, data, fin=fin)
            wanted.append(Data(stream_id, data, fin))
    assert peer.receive(sent) == wanted
