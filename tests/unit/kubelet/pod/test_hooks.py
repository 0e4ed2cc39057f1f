"""Where hooks stand after a restart of the kubelet, and how one is sent."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from common.api.types.core_v1 import LifecycleHandler, Pod
from node.kubelet.effects import hook_runner
from node.kubelet.pod import hooks
from node.kubelet.pod.memory import Moment, PodMemory
from node.probes.base import HttpAnswer, HttpRequest, PlainHttp
from node.runtime.fake import FakeRuntime
from tests.fakes.checks import FakeChecks
from tests.fakes.clock import FakeClock
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
    memory = PodMemory(started_at=Moment(NOW, 0.0))
    hooks.adopt(one, observed(ran()), memory)
    assert hooks.post_start_is_over(one.spec.containers[0], ran(), memory) is over


def test_what_is_known_of_a_hook_is_not_overruled_by_a_report() -> None:
    memory = PodMemory(started_at=Moment(NOW, 0.0), hooks={("app-0", "postStart"): "failed"})
    one = hooked({"containerID": "podman://app-0", "state": RUNNING})
    hooks.adopt(one, observed(ran()), memory)
    assert memory.hooks == {("app-0", "postStart"): "failed"}


class PlainServer(FakeChecks):
    """Speaks HTTP whatever it is asked in; keeps the requests."""

    async def http(self, request: HttpRequest, *, timeout_seconds: float) -> HttpAnswer:
        """An answer in HTTP only."""
        self.asked.append(f"{request.scheme} {sorted(name for name, _ in request.headers)}")
        if request.scheme == "https":
            raise PlainHttp("http: server gave HTTP response to HTTPS client")
        return HttpAnswer(200, "")


async def test_an_https_hook_that_meets_http_is_sent_again_in_http_without_its_secret() -> None:
    headers = [{"name": "X-A", "value": "1"}, {"name": "Authorization", "value": "secret"}]
    action = {"scheme": "HTTPS", "port": 80, "httpHeaders": headers}
    handler = msgspec.convert({"httpGet": action}, LifecycleHandler)
    clock = FakeClock()
    checks = PlainServer(clock)
    world = SimpleNamespace(checks=checks, clock=clock, runtime=FakeRuntime(clock))
    await hook_runner.run(handler, container(), "app-0", "10.42.1.2", world)
    assert checks.asked == ["https ['Authorization', 'X-A']", "http ['X-A']"]
