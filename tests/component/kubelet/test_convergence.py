"""Property: whatever breaks and whenever the kubelet dies, a pod ends up as it should, and stays.

At no time do two containers of one name run; the fake runtime checks it with every call.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.api.types.core_v1 import Pod, PodStatus
from node.runtime.base import RuntimeUnavailable
from node.runtime.fake import Program
from tests.examples import examples
from tests.fakes.kubelet import FakeNode, end
from tests.fakes.pods import UID, container, pod

PROGRAMS = {
    ("runs",): Program(),
    ("polite",): Program(term_exit_code=0),
    ("ends",): Program(exit_code=0),
    ("fails",): Program(exit_code=1),
    ("absent",): Program(start_error="executable file not found"),
}
COMMANDS = st.sampled_from([name for (name,) in PROGRAMS])
COUNTS = st.integers(0, 1)
LONG_SECONDS = 400.0
YES = {"exec": {"command": ["yes"]}}
PROBES = {
    "startupProbe": YES,
    "livenessProbe": {**YES, "initialDelaySeconds": 3},
    "readinessProbe": {"httpGet": {"port": 80}},
}
HOOKS = {"lifecycle": {"postStart": YES, "preStop": {"sleep": {"seconds": 2}}}}
EXTRAS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, PROBES, HOOKS, {**PROBES, **HOOKS}]
)


class Died(asyncio.CancelledError):
    """The kubelet dies in the middle of a call."""


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    """Pods of every restart policy, with programs of every kind."""
    init = [
        *(sidecar(f"side{n}", draw(COMMANDS), **draw(EXTRAS)) for n in range(draw(COUNTS))),
        *(container(f"init{n}", command=[draw(COMMANDS)]) for n in range(draw(COUNTS))),
    ]
    main = [
        container(f"c{n}", command=[draw(COMMANDS)], **draw(EXTRAS))
        for n in range(draw(st.integers(1, 2)))
    ]
    return pod(
        initContainers=init,
        containers=main,
        restartPolicy=draw(st.sampled_from(["Always", "OnFailure", "Never"])),
        terminationGracePeriodSeconds=draw(st.sampled_from([0, 1, 30])),
    )


def sidecar(name: str, command: str, **fields: Any) -> dict[str, Any]:
    """An init container that runs beside the others."""
    return container(name, command=[command], restartPolicy="Always", **fields)


def expected(one: Pod) -> set[str]:
    """The phases that a pod may be in at the end, by what its programs do."""
    policy = one.spec.restartPolicy
    commands = [c.command[0] for c in one.spec.containers]
    for first in one.spec.initContainers:
        runs = first.command[0] in ("runs", "polite")
        if first.restartPolicy == "Always" and runs:
            continue
        if first.restartPolicy == "Always" or runs:
            return {"Pending"}
        if first.command[0] != "ends":
            return {"Failed"} if policy == "Never" else {"Pending"}
    again = {"Always": commands, "OnFailure": [c for c in commands if c in ("fails", "absent")]}
    if any(c in ("runs", "polite") for c in commands) or again.get(policy):
        # Between two attempts of a program that never started, a pod is not running yet.
        return {"Running", "Pending"} if "absent" in commands else {"Running"}
    return {"Succeeded"} if all(c == "ends" for c in commands) else {"Failed"}


async def lived(directory: Path, one: Pod, faults: dict[int, str], *, deleted: bool) -> None:
    """The whole life of a pod on a node where calls fail and the kubelet dies."""
    node = FakeNode(directory)
    node.runtime.programs |= PROGRAMS
    node.runtime.execs |= {("yes",): 0}
    for call, kind in faults.items():
        node.runtime.faults[call] = (
            Died() if kind == "dies" else RuntimeUnavailable("connection refused")
        )
    deaths = sum(kind == "dies" for kind in faults.values())
    try:
        await begin(node)
        await node.assign(one)
        for _ in range(deaths + 1):
            await node.wait(LONG_SECONDS)
            await node.stop()
            await begin(node)
        await node.wait(LONG_SECONDS)
        await check_alive(node, one, node.master.last(UID))
        if deleted:
            await check_end(node, one)
    finally:
        await end(node)


async def begin(node: FakeNode) -> None:
    """Start the kubelet, and again when it dies at once."""
    while True:
        try:
            await node.start()
            return
        except Died:
            await node.stop()


async def check_alive(node: FakeNode, one: Pod, status: PodStatus) -> None:
    """The pod is as it should be; and nothing is done about one that has ended or runs."""
    assert status.phase in expected(one)
    signalled = {call.split()[1] for call in node.runtime.calls if call.startswith("signal_")}
    final = status.phase in ("Succeeded", "Failed")
    assert all(final and "-side" in name for name in signalled)
    if final:
        assert not [s for s in (await node.containers()).values() if s.state == "running"]
    for reported, container_ in zip(status.containerStatuses, one.spec.containers, strict=True):
        if status.phase == "Running" and container_.command[0] in ("runs", "polite"):
            assert reported.ready
            assert reported.restartCount == 0
    for reported in status.initContainerStatuses:
        if status.phase == "Running" and reported.name.startswith("side"):
            assert reported.ready
            assert reported.restartCount == 0


async def check_end(node: FakeNode, one: Pod) -> None:
    """A deleted pod leaves nothing, and is said to be gone."""
    now = node.clock.now()
    one.metadata.deletionTimestamp = f"{now:%Y-%m-%dT%H:%M:%SZ}"  # type: ignore[assignment]
    await node.assign(one)
    await node.wait(60)
    assert await node.containers() == {}
    assert await node.sandbox.list() == []
    assert UID in node.master.gone


FAULTS = st.dictionaries(st.integers(1, 40), st.sampled_from(["dies", "away"]), max_size=4)


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(one=pods(), faults=FAULTS, deleted=st.booleans())
def test_a_pod_converges(
    tmp_path_factory: pytest.TempPathFactory, one: Pod, faults: dict[int, str], deleted: bool
) -> None:
    asyncio.run(lived(tmp_path_factory.mktemp("node"), one, faults, deleted=deleted))


@pytest.mark.parametrize("call", range(1, 26))
def test_a_death_at_any_call_is_survived(tmp_path: Path, call: int) -> None:
    one = pod(
        initContainers=[container("init", command=["ends"])],
        containers=[container("c0", command=["runs"]), container("c1", command=["fails"])],
    )
    asyncio.run(lived(tmp_path, one, {call: "dies"}, deleted=True))


@pytest.mark.parametrize("call", range(1, 22))
def test_a_death_at_any_call_of_hooks_and_probes_is_survived(tmp_path: Path, call: int) -> None:
    one = pod(containers=[container("c0", command=["polite"], **PROBES, **HOOKS)])
    asyncio.run(lived(tmp_path, one, {call: "dies", call + 7: "away"}, deleted=True))


@pytest.mark.parametrize("call", range(1, 40))
@pytest.mark.parametrize("command", ["ends", "runs"])
def test_a_death_at_any_call_with_sidecars_is_survived(
    tmp_path: Path, call: int, command: str
) -> None:
    one = pod(
        initContainers=[
            sidecar("side0", "polite", **PROBES),
            container("init", command=["ends"]),
            sidecar("side1", "runs", **HOOKS),
        ],
        containers=[container("c0", command=[command])],
        restartPolicy="Never",
    )
    asyncio.run(lived(tmp_path, one, {call: "dies"}, deleted=True))
