"""Sidecars on a fake machine: before, beside and after the app containers."""

from typing import Any

import pytest

from common.api.types.core_v1 import Pod
from node.runtime.fake import Program
from tests.fakes.kubelet import FakeNode
from tests.fakes.pods import UID, container, pod

DELETED = {"deletionTimestamp": "2030-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}


@pytest.fixture(autouse=True)
def programs(node: FakeNode) -> None:
    """What the commands of the tests' containers do."""
    node.runtime.programs |= {
        ("polite",): Program(term_exit_code=0),
        ("fails",): Program(exit_code=3),
        ("ends",): Program(exit_code=0),
    }


def meshed(**spec: Any) -> Pod:
    """A pod with two sidecars around an init container."""
    return pod(
        initContainers=[
            container("proxy", command=["polite"], restartPolicy="Always"),
            container("setup", command=["ends"]),
            container("logs", command=["polite"], restartPolicy="Always"),
        ],
        **{"containers": [container(command=["polite"])], **spec},
    )


def told(node: FakeNode, verb: str) -> list[str]:
    """The containers of the runtime's calls of one kind, in order."""
    calls = [call.split() for call in node.runtime.changes()]
    return [words[1].removeprefix(f"wherry-{UID}-") for words in calls if words[0] == verb]


async def test_they_begin_in_order_and_end_after_the_app_in_reverse_order(node: FakeNode) -> None:
    await node.assign(meshed())
    assert told(node, "start_container") == ["proxy-0", "setup-0", "logs-0", "app-0"]
    made = node.master.last(UID)
    assert made.phase == "Running"
    assert [one.ready for one in made.initContainerStatuses] == [True, True, True]
    await node.assign(meshed(metadata=DELETED))
    await node.wait(1)
    assert told(node, "signal_container") == ["app-0", "logs-0", "proxy-0"]
    assert node.master.gone == [UID]


async def test_a_stubborn_app_leaves_the_sidecars_two_seconds(node: FakeNode) -> None:
    await node.assign(meshed(containers=[container(command=["stubborn"])]))
    await node.assign(meshed(containers=[container(command=["stubborn"])], metadata=DELETED))
    await node.wait(29)
    assert told(node, "signal_container") == ["app-0"]
    await node.wait(3)
    assert sorted(told(node, "signal_container")) == ["app-0", "app-0", "logs-0", "proxy-0"]
    assert node.master.gone == [UID]


async def test_a_job_with_a_sidecar_completes(node: FakeNode) -> None:
    await node.assign(meshed(restartPolicy="Never"))
    await node.end((await node.containers())["app/0"].id, 0)
    await node.wait(1)
    assert node.master.last(UID).phase == "Succeeded"
    assert told(node, "signal_container") == ["logs-0", "proxy-0"]
    assert await node.sandbox.list() == []
    await node.wait(400)
    assert told(node, "start_container") == ["proxy-0", "setup-0", "logs-0", "app-0"]


async def test_a_sidecar_crashes_beside_the_app_and_neither_waits_for_the_other(
    node: FakeNode,
) -> None:
    await node.assign(meshed(restartPolicy="OnFailure"))
    for attempt, wait in ((0, 0), (1, 11)):
        await node.wait(wait)
        await node.end((await node.containers())[f"proxy/{attempt}"].id, 1)
    assert node.master.last(UID).phase == "Running"
    proxy = node.master.last(UID).initContainerStatuses[0]
    assert proxy.state.waiting is not None
    assert proxy.state.waiting.reason == "CrashLoopBackOff"
    assert (await node.containers())["app/0"].state == "running"
    await node.wait(25)
    assert (await node.containers())["proxy/2"].state == "running"


async def test_a_kubelet_that_restarts_touches_nothing(node: FakeNode) -> None:
    await node.assign(meshed())
    changes = node.runtime.changes()
    await node.restart()
    await node.wait(60)
    assert node.runtime.changes() == changes
