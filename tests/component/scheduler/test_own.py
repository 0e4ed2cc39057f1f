"""The user's own scheduler file: a real child process beside the scheduler's shell.

A real child needs real time, so these tests have the real clock, and wait for what must come to be.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from common.api.types.core_v1 import Node, Pod
from common.client.events import Correlator, EventRecorder
from common.client.informer import Informer
from common.runtime.clock import SystemClock
from master.scheduler.own import process
from master.scheduler.own.process import OwnScheduler
from master.scheduler.service import OwnLane, Scheduler
from tests.component.controllers.fakeapi import FakeApi
from tests.component.scheduler.test_service import NAMESPACES, NODES, PODS
from tests.fakes.rng import SeededRng
from tests.unit.scheduler.world import node_item, pod_item

EXAMPLES = Path(__file__).resolve().parents[3] / "deploy/examples/schedulers"
# Enough for a good file on a machine that is busy, and little for one that never ends.
PATIENT, SHORT = 60.0, 0.3
TURNS = 10_000


class World:
    """A scheduler with a file of the user's own, on an API in memory."""

    def __init__(self, path: Path) -> None:
        self.api = FakeApi()
        self.path = path
        self.clock = SystemClock()
        self.own: OwnScheduler | None = None

    def write(self, text: str) -> None:
        """Replace the file, as an editor does."""
        new = self.path.with_suffix(".new")
        new.write_text(dedent(text))
        new.replace(self.path)

    def node(self, name: str, **more: Any) -> None:
        self.api.put(node_item(name, **more).decode(Node), NODES)

    def pod(self, name: str, scheduler: str = "custom", **more: Any) -> None:
        self.api.put(pod_item(name, schedulerName=scheduler, **more).decode(Pod), PODS)

    def events(self) -> set[tuple[str, str, str]]:
        return {
            (o["reason"], o["message"], o["source"]["component"])
            for key, o in self.api.objects.items()
            if key[0] == "events"
        }

    def condition(self, name: str) -> tuple[str, str]:
        """(reason, message) of PodScheduled, or nothing."""
        status = self.api.objects[("pods", "default", name)].get("status", {})
        found = [(c["reason"], c["message"]) for c in status.get("conditions", [])]
        return found[0] if found else ("", "")

    @property
    def bound(self) -> dict[str, str]:
        return self.api.bound

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(TURNS):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it never came to be")

    async def pod_says(self, name: str, text: str) -> None:
        """Wait for a failure of the file in a pod's condition and Event."""
        words = text.replace("FILE", str(self.path))
        await self.until(lambda: self.condition(name) == ("SchedulerError", words))
        await self.until(lambda: ("FailedScheduling", words, "custom") in self.events())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "scheduler.py")


@asynccontextmanager
async def running(
    world: World, *, seconds: float = PATIENT, name: str = "custom"
) -> AsyncIterator[None]:
    api, clock = world.api, world.clock
    informers = {
        r.group_resource: Informer(api, r, clock=clock, rng=SeededRng())
        for r in (NAMESPACES, PODS, NODES)
    }
    recorder = EventRecorder(api, Correlator("default-scheduler"), clock=clock)
    own_recorder = EventRecorder(api, Correlator(name), clock=clock)
    world.own = OwnScheduler(str(world.path), seconds, clock=clock)
    own = OwnLane(name=name, scheduler=world.own, recorder=own_recorder)
    scheduler = Scheduler(api, informers, recorder, clock=clock, own=own)
    works = [scheduler.run(), recorder.run(), own_recorder.run()]
    tasks = [asyncio.create_task(w) for w in (*works, *(i.run() for i in informers.values()))]
    try:
        yield
        assert not any(task.done() for task in tasks), "the scheduler has ended"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert world.own.pid is None, "the child outlives the scheduler"


async def test_plugins_of_the_examples(world: World) -> None:
    world.path = EXAMPLES / "plugins.py"
    world.node("n1")
    world.node("n2", labels={"customer": "x"})
    world.node("n3", cpu="1")
    async with running(world):
        world.pod("x1", labels={"customer": "x"}, cpu="1")
        world.pod("full", labels={"customer": "x"}, cpu="8")
        await world.until(lambda: world.bound == {"x1": "n2"})
        text = "0/3 nodes are available: 3 Insufficient cpu."
        await world.until(lambda: world.condition("full") == ("Unschedulable", text))
        world.pod("y1", labels={"customer": "y"})
        text = "0/3 nodes are available: 3 node(s) belonged to another customer."
        await world.until(lambda: world.condition("y1") == ("Unschedulable", text))
        assert ("FailedScheduling", text, "custom") in world.events()
        world.pod("b1", labels={"kind": "batch"}, cpu="500m")
        await world.until(lambda: "b1" in world.bound)
        world.pod("b2", labels={"kind": "batch"}, cpu="500m")
        await world.until(lambda: "b2" in world.bound)
        assert world.bound["b2"] == world.bound["b1"]
        world.node("n4", labels={"customer": "y"})
        await world.until(lambda: world.bound.get("y1") == "n4")


async def test_columns_of_the_examples(world: World) -> None:
    world.path = EXAMPLES / "columns.py"
    world.node("n1", labels={"disk": "fast"})
    world.node("n2")
    async with running(world):
        world.pod("first", memory="6Gi")
        await world.until(lambda: world.bound.get("first") == "n1")
        world.pod("second", memory="2Gi")
        await world.until(lambda: world.bound.get("second") == "n2")
        world.pod("third", memory="7.5Gi")
        text = "0/2 nodes are available: 2 Insufficient memory."
        await world.until(lambda: world.condition("third") == ("Unschedulable", text))
        world.pod("fourth", memory="5.5Gi")
        text = (
            "0/2 nodes are available: 1 Insufficient memory, "
            "1 node(s) had to keep memory in reserve."
        )
        await world.until(lambda: world.condition("fourth") == ("Unschedulable", text))


async def test_the_algorithm_of_the_examples(world: World) -> None:
    world.path = EXAMPLES / "algorithm.py"
    for name in ("n1", "n2", "n3"):
        world.node(name, cpu="2")
    async with running(world):
        for number in range(6):
            world.pod(f"p{number}", owner="rs", cpu="1")
        await world.until(lambda: len(world.bound) == 6)
        assert sorted(world.bound.values()) == ["n1", "n1", "n2", "n2", "n3", "n3"]
        world.pod("more", cpu="1")
        text = "0/3 nodes are available: 3 Insufficient cpu."
        await world.until(lambda: world.condition("more") == ("Unschedulable", text))


async def test_all_pods_when_it_has_the_default_name(world: World) -> None:
    world.write("def schedule(pod, nodes):\n    return nodes.names[-1]")
    world.node("n1")
    world.node("n2")
    async with running(world, name="default-scheduler"):
        world.pod("a", "")
        world.pod("b", "default-scheduler")
        world.pod("c", "custom")
        await world.until(lambda: len(world.bound) == 2)
        assert world.bound == {"a": "n2", "b": "n2"}


async def test_no_child_without_a_pod_that_wants_it(world: World) -> None:
    world.write("print('hello')\ndef score(pod, node):\n    print('hello')\n    return 1")
    world.node("n1")
    async with running(world):
        world.pod("other", "default-scheduler")
        await world.until(lambda: "other" in world.bound)
        assert world.own is not None
        assert world.own.pid is None
        world.pod("p")
        await world.until(lambda: "p" in world.bound)
        assert world.own.pid is not None


MISTAKES = [
    ("def score(pod node):\n    return 1\n", "FILE, line 1: SyntaxError: invalid syntax"),
    (
        "def score(pod, node):\n    return 1 / 0\n",
        "FILE, line 2, in score: ZeroDivisionError: division by zero",
    ),
    (
        "def schedule(pod, nodes):\n    return 'nowhere'\n",
        "FILE, line 1, in schedule: returned 'nowhere', which is not the name of a node that it "
        "may choose",
    ),
    (
        "def score(pod, node):\n    return float('nan')\n",
        "FILE, line 1, in score: returned nan for node n1, not a number from 0 to 100",
    ),
    (
        "def score_columns(pod, nodes):\n    return [1, 2]\n",
        "FILE, line 1, in score_columns: returned 2 values for 1 nodes",
    ),
    ("import os\nos._exit(3)\n", "FILE: its process ended with status 3"),
    (
        "import os\ndef score(pod, node):\n    os.kill(os.getpid(), 11)\n",
        "FILE: its process was killed by signal 11",
    ),
    (
        "def score(pod, node):\n    return len(bytearray(1 << 40))\n",
        "FILE, line 2, in score: MemoryError",
    ),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES)
async def test_mistakes_are_told_and_others_go_on(world: World, text: str, words: str) -> None:
    world.write(text)
    world.node("n1")
    async with running(world):
        world.pod("p")
        await world.pod_says("p", words)
        world.pod("other", "default-scheduler")
        await world.until(lambda: world.bound == {"other": "n1"})
        world.write("def score(pod, node):\n    return 1")
        await world.until(lambda: world.bound.get("p") == "n1")


async def test_no_file_at_first(world: World) -> None:
    world.node("n1")
    async with running(world):
        world.pod("p")
        await world.pod_says("p", "cannot read FILE: no such file or directory")
        world.write("def score(pod, node):\n    return 1")
        await world.until(lambda: world.bound.get("p") == "n1")


LOOP = """
def filter(pod, node):
    while "loop" in pod.labels:
        pass
    return ""
"""


async def test_an_endless_loop_is_ended_and_others_go_on(world: World) -> None:
    """Also other pods of the same file; the child that looped is replaced."""
    world.write(LOOP)
    world.node("n1")
    async with running(world, seconds=SHORT):
        world.pod("p", labels={"loop": ""})
        words = re.compile(r".*/scheduler.py, line \d, in filter: took longer than 0.3 s")
        await world.until(lambda: words.fullmatch(world.condition("p")[1]))
        assert world.condition("p")[0] == "SchedulerError"
        for number in range(5):
            world.pod(f"other{number}", "default-scheduler")
        await world.until(lambda: len(world.bound) == 5)
        world.pod("good")
        await world.until(lambda: world.bound.get("good") == "n1")
        assert "p" not in world.bound


async def test_others_are_bound_while_a_file_takes_its_time(world: World, tmp_path: Path) -> None:
    """The file waits for a pipe that nobody writes to before the others are bound."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    world.write(f"def filter(pod, node):\n    return open({str(gate)!r}).read()")
    world.node("n1")
    async with running(world):
        world.pod("slow")
        for number in range(40):
            world.pod(f"other{number}", "default-scheduler")
        await world.until(lambda: len(world.bound) == 40)
        assert "slow" not in world.bound

        def opened() -> int:
            try:
                return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return -1

        descriptors: list[int] = []
        await world.until(lambda: descriptors.append(opened()) or descriptors[-1] >= 0)
        os.close(descriptors[-1])
        await world.until(lambda: world.bound.get("slow") == "n1")


async def test_a_child_that_cannot_say_that_it_takes_too_long(world: World) -> None:
    """Even one that catches everything: it is killed."""
    world.write(
        """
        import signal
        def score(pod, node):
            signal.setitimer(signal.ITIMER_REAL, 0)
            while True:
                pass
        """
    )
    world.node("n1")
    async with running(world, seconds=SHORT):
        world.pod("p")
        await world.pod_says("p", "FILE: took longer than 0.3 s, and was killed")


async def test_a_loop_while_loading(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOAD_SECONDS", 0.2)
    world.write("while True:\n    pass")
    world.node("n1")
    async with running(world):
        world.pod("p")
        await world.until(lambda: world.condition("p")[0] == "SchedulerError")
        assert world.condition("p")[1].endswith(": took longer than 0.2 s")


async def test_a_replaced_file_counts_from_the_next_pod_on(world: World) -> None:
    world.write("def schedule(pod, nodes):\n    return 'n1'")
    world.node("n1")
    world.node("n2")
    async with running(world):
        world.pod("a")
        await world.until(lambda: world.bound.get("a") == "n1")
        world.write("def schedule(pod, nodes):\n    return 'n2'")
        world.pod("b")
        await world.until(lambda: world.bound.get("b") == "n2")


async def test_a_replaced_file_may_cure_a_no(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.05)
    world.write("def filter(pod, node):\n    return 'not today'")
    world.node("n1")
    async with running(world):
        world.pod("p")
        text = "0/1 nodes are available: 1 not today."
        await world.until(lambda: world.condition("p") == ("Unschedulable", text))
        world.write("def filter(pod, node):\n    return ''")
        await world.until(lambda: world.bound.get("p") == "n1")


async def test_a_child_that_was_killed_comes_back(world: World) -> None:
    world.write("def score(pod, node):\n    return 1")
    world.node("n1")
    async with running(world):
        world.pod("a")
        await world.until(lambda: "a" in world.bound)
        assert world.own is not None
        assert world.own.pid is not None
        os.kill(world.own.pid, signal.SIGKILL)
        world.pod("b")
        await world.until(lambda: "b" in world.bound)


async def test_a_pod_that_goes_while_it_is_decided_about(world: World, tmp_path: Path) -> None:
    here, gate = tmp_path / "here", tmp_path / "gate"
    os.mkfifo(gate)
    world.write(
        f"""
        def filter(pod, node):
            if pod.name == "a":
                open({str(here)!r}, "w").close()
                open({str(gate)!r}).close()
            return ""
        """
    )
    world.node("n1")
    async with running(world):
        world.pod("a")
        await world.until(here.exists)
        world.api.remove(PODS, "default", "a")
        world.pod("other", "default-scheduler")
        await world.until(lambda: "other" in world.bound)
        descriptor = os.open(gate, os.O_RDWR)
        world.pod("b")
        await world.until(lambda: "b" in world.bound)
        os.close(descriptor)
        assert set(world.bound) == {"other", "b"}


PARENT = """
import asyncio, sys
from common.runtime.clock import SystemClock
from master.scheduler.own.process import OwnScheduler
from tests.unit.scheduler.world import cycle, node_item, pod

async def main():
    own = OwnScheduler(sys.argv[1], 60, clock=SystemClock())
    decision = await own.decide(cycle(node_item("n1")), pod("p"))
    print(decision.node, own.pid, flush=True)
    await own.decide(cycle(node_item("n1")), pod("p", labels={"loop": ""}))

asyncio.run(main())
"""


async def test_the_child_dies_with_the_master_even_by_kill_9(world: World) -> None:
    """Also when it is in an endless loop."""
    world.write(LOOP)
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        str(world.path),
        stdout=asyncio.subprocess.PIPE,
        cwd=EXAMPLES.parents[2],
    )
    try:
        assert parent.stdout is not None
        node, pid = (await parent.stdout.readline()).split()
        assert node == b"n1"
        assert Path(f"/proc/{int(pid)}").exists()
    finally:
        parent.kill()
        await parent.wait()
    await world.until(lambda: not _is_running(int(pid)))


def _is_running(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_the_child_knows_nothing_of_the_master(world: World) -> None:
    world.write(
        """
        import sys
        def filter(pod, node):
            names = {name.partition(".")[0] for name in sys.modules}
            return " ".join(sorted(names & {"master", "common", "msgspec", "aiohttp", "grpc"}))
        """
    )
    world.node("n1")
    async with running(world):
        world.pod("p")
        await world.until(lambda: world.bound.get("p") == "n1")
