"""Property: whatever breaks and whenever the kubelet dies, a resized pod gets what was asked for
last, and is restarted only where its policy says so.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.api.types.core_v1 import Pod
from node.kubelet.spec.limits import limits_of
from node.runtime.base import RuntimeUnavailable
from tests.component.kubelet.test_convergence import FAULTS, LONG_SECONDS, Died, begin
from tests.component.kubelet.test_resize import (
    UID,
    resize_conditions,
    resized,
    resources,
    sized,
)
from tests.examples import examples
from tests.fakes.kubelet import FakeNode, end

SIZES = st.builds(resources, st.sampled_from(["100m", "300m"]), st.sampled_from(["64Mi", "128Mi"]))
POLICIES = st.sampled_from(
    [
        {},
        {"resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]},
        {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]},
    ]
)
LIVES = st.lists(st.tuples(SIZES, SIZES), min_size=2, max_size=4)


async def lived(
    directory: Path, lives: list[tuple[Any, Any]], policy: dict[str, Any], faults: dict[int, str]
) -> None:
    """A pod of two containers that has each of these sizes in turn, on a node that fails."""
    node = FakeNode(directory)
    for call, kind in faults.items():
        node.runtime.faults[call] = (
            Died() if kind == "dies" else RuntimeUnavailable("connection refused")
        )
    deaths = sum(kind == "dies" for kind in faults.values())
    one = sized(*lives[0], **policy)
    try:
        await begin(node)
        await node.assign(one)
        await node.wait(40)
        for sizes in lives[1:]:
            one = resized(one, *sizes)
            await node.assign(one)
            await node.settle()
        for _ in range(deaths + 1):
            await node.wait(LONG_SECONDS)
            await node.stop()
            await begin(node)
        await node.wait(LONG_SECONDS)
        await check(node, one, lives, may_restart=bool(policy))
    finally:
        await end(node)


async def check(
    node: FakeNode, one: Pod, lives: list[tuple[Any, Any]], *, may_restart: bool
) -> None:
    """Every container has what it was asked for last, and says so."""
    status = node.master.last(UID)
    assert status.phase == "Running"
    assert resize_conditions(status) == []
    running = {
        found.name: found
        for found in (await node.containers()).values()
        if found.state == "running"
    }
    for container, reported in zip(one.spec.containers, status.containerStatuses, strict=True):
        has = running[container.name]
        assert has.limits == limits_of(container.resources)
        assert reported.resources == container.resources
        assert reported.allocatedResources == container.resources.requests
        assert reported.restartCount <= (len(lives) - 1 if may_restart else 0)


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(lives=LIVES, policy=POLICIES, faults=FAULTS)
def test_a_resized_pod_converges(
    tmp_path_factory: pytest.TempPathFactory,
    lives: list[tuple[Any, Any]],
    policy: dict[str, Any],
    faults: dict[int, str],
) -> None:
    asyncio.run(lived(tmp_path_factory.mktemp("node"), lives, policy, faults))


SMALL, LARGE = resources("100m", "64Mi"), resources("300m", "128Mi")


@pytest.mark.parametrize("call", range(8, 26))
@pytest.mark.parametrize(
    "policy", [{}, {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]
)
def test_a_death_at_any_call_of_a_resize_is_survived(
    tmp_path: Path, call: int, policy: dict[str, Any]
) -> None:
    lives = [(SMALL, LARGE), (LARGE, SMALL)]
    asyncio.run(lived(tmp_path, lives, policy, {call: "dies", call + 3: "away"}))
