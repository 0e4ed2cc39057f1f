"""Logs out of CRI-format files: whole, from an end, since a moment, followed."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.runtime.clock import SystemClock
from common.runtime.offload import Offload
from node.kubelet.streams import logs
from node.kubelet.streams.logs import LogQuery, Reader
from tests.examples import examples

ALL = LogQuery(follow=False, timestamps=False, tail_lines=-1, since_ms=0, limit_bytes=0)
FOLLOW = ALL._replace(follow=True)
LINES = ("one", "two", "three")


def written(path: Path, lines: Sequence[str], tag: str = "F") -> Path:
    """A log file; line n is of second n."""
    text = "".join(f"{stamp(n)} stdout {tag} {line}\n" for n, line in enumerate(lines))
    path.write_text(text)
    return path


def stamp(second: int) -> str:
    """A time as Podman writes it."""
    return f"2030-01-01T00:{second // 60:02}:{second % 60:02}.123456789+00:00"


def read(path: Path, query: LogQuery = ALL) -> str:
    """Everything that a reader gives."""
    return read_bytes(path, query).decode()


def read_bytes(path: Path, query: LogQuery) -> bytes:
    """As it is on the disk."""
    reader, found = Reader(path, query), b""
    try:
        while not reader.finished and (piece := reader.read()):
            found += piece
    finally:
        reader.close()
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return written(tmp_path / "0.log", LINES)


def test_the_text_without_what_the_runtime_adds(log: Path) -> None:
    assert read(log) == "one\ntwo\nthree\n"


def test_timestamps_are_as_kubernetes_writes_them(log: Path) -> None:
    first = read(log, ALL._replace(timestamps=True)).splitlines()[0]
    assert first == "2030-01-01T00:00:00.123456789Z one"


@pytest.mark.parametrize(
    ("lines", "text"), [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (9, "one\ntwo\nthree\n")]
)
def test_lines_from_the_end(log: Path, lines: int, text: str) -> None:
    assert read(log, ALL._replace(tail_lines=lines)) == text


def test_lines_since_a_moment(log: Path) -> None:
    since = int(datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC).timestamp() * 1000)
    assert read(log, ALL._replace(since_ms=since)) == "two\nthree\n"


def test_a_moment_far_into_a_long_log_is_found(tmp_path: Path) -> None:
    file = written(tmp_path / "0.log", ["x" * 1000] * 300)
    since = int(datetime(2030, 1, 1, 0, 4, 58, tzinfo=UTC).timestamp() * 1000)
    assert read(file, ALL._replace(since_ms=since)).count("\n") == 2


@pytest.mark.parametrize(("limit", "text"), [(1, "o"), (4, "one\n"), (6, "one\ntw"), (99, None)])
def test_no_more_bytes_than_asked_for(log: Path, limit: int, text: str | None) -> None:
    expected = "one\ntwo\nthree\n" if text is None else text
    assert read(log, ALL._replace(limit_bytes=limit)) == expected


def test_parts_of_a_long_line_are_joined(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_text(
        f"{stamp(0)} stdout P ab\n{stamp(0)} stdout P cd\n{stamp(0)} stdout F ef\n"
        f"{stamp(1)} stdout F next\n"
    )
    assert read(file) == "abcdef\nnext\n"
    assert read(file, ALL._replace(tail_lines=1)) == "next\n"
    assert read(file, ALL._replace(tail_lines=2)) == "abcdef\nnext\n"
    assert read(file, ALL._replace(timestamps=True)).splitlines() == [
        "2030-01-01T00:00:00.123456789Z abcdef",
        "2030-01-01T00:00:01.123456789Z next",
    ]


@pytest.mark.parametrize(
    ("lines", "text"), [(1, "end"), (2, "one\nend"), (3, "zero\none\nend"), (0, "")]
)
def test_what_comes_last_is_a_line_without_an_end_too(
    tmp_path: Path, lines: int, text: str
) -> None:
    """`printf 'zero\\none\\nend'`: the runtime marks the last as a part of a line."""
    file = written(tmp_path / "0.log", ["zero", "one"])
    with file.open("a") as out:
        out.write(f"{stamp(2)} stdout P e\n{stamp(2)} stdout P nd\n")
    assert read(file, ALL._replace(tail_lines=lines)) == text


def test_ten_megabytes_of_anything_are_read_in_time(tmp_path: Path) -> None:
    """Catalogue row C19: one line, no line ends at all, binary; whole and from the end."""
    line = b"2030-01-01T00:00:00Z stdout F "
    part = line.replace(b" F ", b" P ") + b"x" * 8000 + b"\n"
    contents = (line + bytes(10 << 20) + b"\n", bytes(10 << 20), part * 1300, os.urandom(10 << 20))
    for content in contents:
        file = tmp_path / "0.log"
        file.write_bytes(content)
        begun = time.process_time()
        read_bytes(file, ALL)
        read_bytes(file, ALL._replace(tail_lines=1))
        logs.last_text(file, 80, 2048)
        assert time.process_time() - begun < 5


def test_an_empty_line_is_a_line(tmp_path: Path) -> None:
    assert read(written(tmp_path / "0.log", ["", "x", ""])) == "\nx\n\n"


def test_a_line_that_is_still_being_written_is_not_shown_yet(tmp_path: Path) -> None:
    file = written(tmp_path / "0.log", ["one"])
    reader = Reader(file, ALL)
    with file.open("a") as out:
        out.write(f"{stamp(1)} stdout F tw")
        out.flush()
        assert reader.read() == b"one\n"
        assert reader.read() == b""
        out.write("o\n")
    assert reader.read() == b"two\n"
    reader.close()


def test_a_line_longer_than_a_chunk_does_not_end_the_log(tmp_path: Path) -> None:
    long = "x" * (3 * logs.CHUNK_BYTES)
    assert read(written(tmp_path / "0.log", ["a", long, "b"])) == f"a\n{long}\nb\n"


def test_what_is_no_log_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "0.log"
    file.write_bytes(b"junk\n\n" + f"{stamp(0)} stdout F ok\n".encode())
    assert read(file) == "ok\n"


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "0.log").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="Too many levels"):
        Reader(tmp_path / "0.log", ALL)


@contextmanager
def reading(path: Path, query: LogQuery = FOLLOW) -> Iterator[Reader]:
    """A reader, closed afterwards."""
    reader = Reader(path, query)
    yield reader
    reader.close()


def replace(path: Path, lines: Sequence[str], tag: str = "F") -> None:
    """Put a new file in the log's place, as conmon does when it is full."""
    written(path.with_suffix(".log.tmp"), lines, tag).rename(path)


def append(path: Path, text: str) -> None:
    with path.open("a") as out:
        out.write(text)


def test_a_replaced_log_is_read_to_its_end_and_then_the_new_one(log: Path) -> None:
    with reading(log) as reader:
        assert reader.read() == b"one\ntwo\nthree\n"
        append(log, f"{stamp(3)} stdout F four\n")
        replace(log, ["five"])
        assert reader.read() == b"four\n"
        assert reader.read() == b"five\n"
        assert reader.read() == b""
        append(log, f"{stamp(9)} stdout F six\n")
        assert reader.read() == b"six\n"


def test_what_was_written_before_the_replacement_is_not_lost(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is full, and replaced, between the read that meets its end and what follows."""
    with reading(log) as reader:
        reader.read()
        real_read = os.read

        def read_then_replace(descriptor: int, size: int) -> bytes:
            data = real_read(descriptor, size)
            monkeypatch.undo()
            append(log, f"{stamp(3)} stdout F four\n")
            replace(log, ["five"])
            return data

        monkeypatch.setattr(os, "read", read_then_replace)
        assert [reader.read(), reader.read(), reader.read()] == [b"", b"four\n", b"five\n"]


def test_without_follow_only_the_file_that_was_there_is_read(log: Path) -> None:
    with reading(log, ALL) as reader:
        replace(log, ["new"])
        assert [reader.read(), reader.read()] == [b"one\ntwo\nthree\n", b""]


def test_a_long_line_goes_on_in_the_next_file(tmp_path: Path) -> None:
    file = written(tmp_path / "0.log", ["ab"], "P")
    with reading(file, FOLLOW._replace(timestamps=True)) as reader:
        first = reader.read()
        replace(file, ["cd"])
        assert (first + reader.read()).endswith(b"Z abcd\n")


def test_a_line_that_broke_off_does_not_spoil_the_next_file(log: Path) -> None:
    with reading(log) as reader:
        append(log, f"{stamp(3)} stdout F fo")
        assert reader.read() == b"one\ntwo\nthree\n"
        replace(log, ["new"])
        assert reader.read() == b"new\n"


def test_the_limit_of_bytes_is_of_all_files(log: Path) -> None:
    with reading(log, FOLLOW._replace(tail_lines=1, limit_bytes=8)) as reader:
        first = reader.read()
        replace(log, ["four"])
        assert (first, reader.read()) == (b"three\n", b"fo")
        assert reader.finished


def test_a_truncated_log_is_read_from_its_beginning(log: Path) -> None:
    with reading(log) as reader:
        reader.read()
        written(log, ["new"])
        assert [reader.read(), reader.read()] == [b"new\n", b""]


def test_a_removed_log_is_read_to_its_end(log: Path) -> None:
    with reading(log) as reader:
        log.unlink()
        assert [reader.read(), reader.read()] == [b"one\ntwo\nthree\n", b""]


def test_every_replaced_file_is_closed(log: Path) -> None:
    before = open_files()
    with reading(log) as reader:
        for text in ("a", "b", "c"):
            reader.read()
            replace(log, [text])
        assert reader.read() == b"c\n"
        assert open_files() == before + 1
    assert open_files() == before


@settings(max_examples=examples(60), deadline=None)
@given(
    lines=st.lists(st.integers(0, 200), max_size=40),
    tail=st.integers(0, 45),
    chunk=st.integers(40, 400),
)
def test_the_tail_is_the_end_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[int], tail: int, chunk: int
) -> None:
    file = written(tmp_path_factory.mktemp("log") / "0.log", ["x" * n for n in lines])
    patched = pytest.MonkeyPatch()
    patched.setattr(logs, "CHUNK_BYTES", chunk)
    try:
        expected = "".join("x" * n + "\n" for n in (lines[-tail:] if tail else []))
        assert read(file, ALL._replace(tail_lines=tail)) == expected
    finally:
        patched.undo()


async def follow(path: Path, running: asyncio.Event, query: LogQuery) -> list[bytes]:
    """Everything that a follower gets until the container has ended."""
    offload = Offload(threads=2)
    try:
        stream = logs.stream(
            path, query, running=running.is_set, clock=SystemClock(), offload=offload
        )
        return [piece async for piece in stream]
    finally:
        offload.close()


async def test_a_follower_gets_lines_as_they_come_and_ends_with_the_container(log: Path) -> None:
    running = asyncio.Event()
    running.set()
    following = asyncio.create_task(follow(log, running, FOLLOW._replace(tail_lines=1)))
    await asyncio.sleep(0.05)
    assert not following.done()
    with log.open("a") as out:
        out.write(f"{stamp(9)} stderr F last\n")
    running.clear()
    assert b"".join(await following) == b"three\nlast\n"


async def test_a_follower_goes_on_with_the_file_that_replaces_the_log(log: Path) -> None:
    pieces: list[bytes] = []
    offload = Offload(threads=1)
    stream = logs.stream(
        log,
        FOLLOW,
        running=lambda: b"end\n" not in pieces,
        clock=SystemClock(),
        offload=offload,
    )
    async for piece in stream:
        pieces.append(piece)
        if len(pieces) == 1:
            replace(log, ["end"])
    assert pieces == [b"one\ntwo\nthree\n", b"end\n"]
    offload.close()


async def test_without_follow_a_running_containers_log_ends(log: Path) -> None:
    running = asyncio.Event()
    running.set()
    assert b"".join(await follow(log, running, ALL)) == b"one\ntwo\nthree\n"


async def test_a_follower_that_leaves_closes_the_file(log: Path) -> None:
    offload = Offload(threads=1)
    stream = logs.stream(
        log,
        FOLLOW,
        running=lambda: True,
        clock=SystemClock(),
        offload=offload,
    )
    before = open_files()
    assert await anext(stream)
    assert open_files() == before + 1
    await stream.aclose()
    assert open_files() == before
    offload.close()


def open_files() -> int:
    """How many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))
