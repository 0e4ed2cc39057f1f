"""Where hooks stand after a restart of the kubelet."""

from datetime import UTC, datetime
from typing import Any

import pytest

from common.api.types.core_v1 import Pod
from node.kubelet import hooks
from node.kubelet.memory import PodMemory
from tests.fakes.pods import container, observed, pod, ran

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LIFECYCLE = {"postStart": {"sleep": {"seconds": 1}}}
RUNNING = {"running": {"startedAt": "2030-01-01T00:00:00Z"}}
WAITING = {"waiting": {"reason": "ContainerCreating"}}


def hooked(*reported: dict[str, Any]) -> Pod:
    """A pod with a postStart hook, of which this was reported."""
    status = {"containerStatuses": [{"name": "app", **fields} for fields in reported]}
    return pod(containers=[container(lifecycle=LIFECYCLE)], status=status)


@pytest.mark.parametrize(
    ("one", "over"),
    [
        (hooked({"containerID": "podman://app-0", "state": RUNNING}), True),
        (hooked({"containerID": "podman://app-0", "state": WAITING}), False),
        (hooked({"containerID": "podman://app-1", "state": RUNNING}), False),
        (hooked(), False),
        (pod(), True),
    ],
)
def test_a_hook_is_over_where_the_container_was_reported_as_running(one: Pod, over: bool) -> None:
    memory = PodMemory(started_at=NOW)
    hooks.adopt(one, observed(ran()), memory)
    assert hooks.post_start_is_over(one.spec.containers[0], ran(), memory) is over


def test_what_is_known_of_a_hook_is_not_overruled_by_a_report() -> None:
    memory = PodMemory(started_at=NOW, hooks={("app-0", "postStart"): "failed"})
    one = hooked({"containerID": "podman://app-0", "state": RUNNING})
    hooks.adopt(one, observed(ran()), memory)
    assert memory.hooks == {("app-0", "postStart"): "failed"}
