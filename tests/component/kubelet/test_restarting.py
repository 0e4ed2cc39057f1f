"""A rule that restarts all containers of a pod, on a fake machine."""

from typing import Any

import pytest

from node.runtime.fake import Program
from tests.component.kubelet.test_convergence import Died, begin
from tests.fakes.kubelet import FakeNode
from tests.fakes.pods import UID, container, pod

RULE = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}
WHOLE: dict[str, Any] = {
    "initContainers": [
        container("setup", command=["ends"]),
        container("proxy", command=["polite"], restartPolicy="Always"),
    ],
    "containers": [
        container(restartPolicy="Never", restartPolicyRules=[RULE]),
        container("other", command=["polite"]),
    ],
    "restartPolicy": "Never",
}


@pytest.fixture(autouse=True)
def programs(node: FakeNode) -> None:
    """What the commands of the tests' containers do."""
    node.runtime.programs |= {
        ("polite",): Program(term_exit_code=0),
        ("ends",): Program(exit_code=0),
    }


async def check_begun_anew(node: FakeNode) -> None:
    """Every container runs or ran as its second attempt, in the same sandbox."""
    found = await node.containers()
    assert {name: s.state for name, s in found.items()} == {
        "setup/1": "exited",
        "proxy/1": "running",
        "app/1": "running",
        "other/1": "running",
    }
    status = node.master.last(UID)
    assert status.phase == "Running"
    both = (*status.initContainerStatuses, *status.containerStatuses)
    assert [(s.restartCount, s.ready) for s in both] == [(1, True)] * 4


async def test_an_exit_code_restarts_all_containers(node: FakeNode) -> None:
    await node.assign(pod(**WHOLE))
    await node.end((await node.containers())["app/0"].id, 42)
    await check_begun_anew(node)
    status = node.master.last(UID)
    both = (*status.initContainerStatuses, *status.containerStatuses)
    ends = [s.lastState.terminated for s in both]
    assert [end and end.exitCode for end in ends] == [0, 0, 42, 0]
    assert {report.phase for report in node.master.reports[UID]} == {"Pending", "Running"}


@pytest.mark.parametrize("call", range(14))
async def test_a_death_at_any_call_of_a_restart_of_all_is_survived(
    node: FakeNode, call: int
) -> None:
    await node.assign(pod(**WHOLE))
    app = (await node.containers())["app/0"]
    node.runtime.faults[len(node.runtime.calls) + call] = Died()
    await node.end(app.id, 42)
    await node.stop()
    node.assigned[UID].status = node.master.last(UID)
    await begin(node)
    await node.wait(30)
    await check_begun_anew(node)
