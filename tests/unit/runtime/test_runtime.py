"""Clock, randomness, threads, back-off and process things."""

import asyncio
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.backoff import Backoff
from common.runtime.clock import SystemClock
from common.runtime.offload import Offload
from common.runtime.process import bound_to_parent
from common.runtime.rng import SUFFIX_ALPHABET, SystemRng
from tests.fakes.clock import FakeClock
from tests.fakes.rng import SeededRng


async def test_fake_clock_wakes_sleepers_in_order_and_only_by_advance() -> None:
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))
        await clock.sleep(1)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper("late", 5)), asyncio.create_task(sleeper("early", 2))]
    await clock.advance(1.5)
    assert woken == []
    await clock.advance(10)
    assert woken == [("early", 2.0), ("early", 3.0), ("late", 5.0), ("late", 6.0)]
    await asyncio.gather(*tasks)


def test_system_clock_is_aware_utc() -> None:
    offset = SystemClock().now().utcoffset()
    assert offset is not None and offset.total_seconds() == 0


@pytest.mark.parametrize("rng", [SystemRng(), SeededRng(7)])
def test_random_values_have_their_shapes(rng: SystemRng) -> None:
    assert len(rng.uuid()) == 36 and rng.uuid()[14] == "4"
    assert len(rng.suffix()) == 5 and set(rng.suffix(100)) <= set(SUFFIX_ALPHABET)
    assert len(rng.token(16)) == 16 and 0 <= rng.random() < 1


def test_seeded_values_repeat() -> None:
    assert [SeededRng(1).uuid(), SeededRng(1).suffix()] == [
        SeededRng(1).uuid(),
        SeededRng(1).suffix(),
    ]


async def test_offload_runs_in_bounded_threads_and_passes_errors() -> None:
    offload = Offload(threads=2)
    gate = threading.Barrier(2, timeout=10)
    try:
        await asyncio.gather(offload(gate.wait), offload(gate.wait))
        with pytest.raises(ZeroDivisionError):
            await offload(divmod, 1, 0)
        names = await asyncio.gather(*(offload(threading.current_thread) for _ in range(20)))
        assert len({thread.name for thread in names}) <= 2
    finally:
        offload.close()


@given(failures=st.integers(0, 10_000), random=st.floats(0, 1, exclude_max=True))
def test_backoff_stays_within_its_bounds(failures: int, random: float) -> None:
    backoff = Backoff(0.1, 30.0, jitter=0.5)
    delay = backoff.delay_seconds(failures, random)
    assert delay == 0 if failures == 0 else 0.05 <= delay <= 30


def test_backoff_doubles_up_to_the_cap() -> None:
    backoff = Backoff(1.0, 6.0)
    assert [backoff.delay_seconds(n) for n in range(1, 6)] == [1, 2, 4, 6, 6]


def test_child_dies_with_its_parent() -> None:
    script = (
        "import subprocess, sys, os\n"
        f"sys.path.insert(0, {sys.path[0]!r})\n"
        "from common.runtime.process import bound_to_parent\n"
        "child = subprocess.Popen(bound_to_parent(['sh', '-c', 'echo up; exec sleep 60']),"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    # The grandchild holds our end of stderr open: it closes when the grandchild is gone too.
    _, errors = parent.communicate(timeout=20)
    assert (parent.returncode, errors) == (-9, b"")


def test_launcher_refuses_another_parent() -> None:
    command = bound_to_parent(["true"])
    command[4] = "1"
    assert subprocess.run(command, check=False).returncode == 1
