"""Every test that takes `runtime` runs on the fake and on Podman."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from common.runtime.clock import SystemClock
from common.runtime.offload import Offload
from node.runtime.base import ContainerSpec, ContainerStatus, Runtime
from node.runtime.fake import FakeRuntime, Program
from node.runtime.podman import PodmanRuntime
from tests.servers.podman import TEST_IMAGE, Podman, podman, running_podman

__all__ = ["podman"]

SLEEPS = ("/bin/sleep", "1000")
ENDS_ON_TERM = ("/bin/sh", "-c", "trap 'exit 5' TERM; sleep 1000 & wait")
EXITS_3 = ("/bin/sh", "-c", "exit 3")
MISSING = ("/no/such/program",)
PROGRAMS = {
    ENDS_ON_TERM: Program(term_exit_code=5),
    EXITS_3: Program(exit_code=3),
    MISSING: Program(start_error="no such file or directory"),
}
EXEC_TRUE = ("/bin/true",)
EXEC_FAILS = ("/bin/sh", "-c", "exit 4")
EXEC_HANGS = ("/bin/sleep", "999")
EXEC_CAT = ("/bin/cat",)
EXECS = {EXEC_TRUE: 0, EXEC_CAT: 0, EXEC_FAILS: 4, EXEC_HANGS: None}
_WAIT_SECONDS = 20.0


def a_spec(name: str = "app", *, attempt: int = 0, **fields: object) -> ContainerSpec:
    """A container of one test pod; by default it sleeps."""
    return ContainerSpec(
        pod_uid="5c1f0b9e-0000-4000-8000-000000000001",
        pod_namespace="default",
        pod_name="web",
        name=name,
        attempt=attempt,
        **({"image": TEST_IMAGE, "command": SLEEPS} | fields),  # type: ignore[arg-type]
    )


async def eventually(
    runtime: Runtime, container_id: str, wanted: Callable[[ContainerStatus], bool]
) -> ContainerStatus:
    """The container's status, once it is as wanted."""
    async with asyncio.timeout(_WAIT_SECONDS):
        while True:
            status = await runtime.container_status(container_id)
            if status is not None and wanted(status):
                return status
            await asyncio.sleep(0.02)


@contextmanager
def podman_driver(socket_path: str) -> Iterator[PodmanRuntime]:
    """A driver, closed afterwards."""
    offload = Offload()
    runtime = PodmanRuntime(socket_path, offload)
    yield runtime
    offload.close()
    runtime.close()
    gc.collect()  # podman-py leaves the socket of a refused connection to it


@pytest.fixture
def podman_runtime(podman: Podman) -> Iterator[PodmanRuntime]:
    """A driver on a fresh service."""
    with podman_driver(podman.socket_path) as driver:
        yield driver


@pytest.fixture(params=["fake", pytest.param("podman", marks=pytest.mark.podman)])
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[Runtime]:
    """A Runtime with `TEST_IMAGE` and no container."""
    if request.param == "fake":
        fake = FakeRuntime(SystemClock(), programs=dict(PROGRAMS), execs=dict(EXECS))
        fake.add_images(TEST_IMAGE)
        yield fake
        fake.check_invariants()
        return
    async with running_podman() as service:
        with podman_driver(service.socket_path) as driver:
            yield driver
