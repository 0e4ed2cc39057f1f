"""Probes and hooks with real containers: commands, addresses of pods, ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.api.types.core_v1 import Pod, PodStatus
from tests.component.kubelet.podman.test_podman import RealNode, ready, restarted
from tests.fakes.kubelet import end
from tests.fakes.pods import UID, container, pod
from tests.servers.podman import TEST_IMAGE, Podman, podman

__all__ = ["podman"]

pytestmark = pytest.mark.podman
SERVES = "mkdir -p /tmp/w; echo ok > /tmp/w/ok; httpd -f -p 8080 -h /tmp/w"
WAITS = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
TIMES = {"timeoutSeconds": 5, "periodSeconds": 1, "failureThreshold": 2}


@pytest.fixture
async def node(tmp_path: Path, podman: Podman) -> AsyncIterator[RealNode]:
    """A kubelet on a fresh Podman; nothing of its pods is left afterwards."""
    made = RealNode(tmp_path, podman)
    await made.start()
    yield made
    await made.stop()
    for sandbox in await made.sandbox.list():
        await made.sandbox.remove(sandbox.pod_uid)
    await end(made)


def shell(script: str, *, host: bool = True, metadata: Any = None, **fields: Any) -> Pod:
    """A pod whose container runs a script and has probes or hooks."""
    return pod(
        hostNetwork=host,
        metadata=metadata,
        terminationGracePeriodSeconds=20,
        containers=[container(image=TEST_IMAGE, command=["/bin/sh", "-c", script], **fields)],
    )


def unready(status: PodStatus) -> bool:
    """Whether the container runs and is not ready."""
    [one] = status.containerStatuses
    return one.state.running is not None and not one.ready


async def inside(node: RealNode, script: str) -> int:
    """Run a script in the one container that runs; its exit code."""
    one = await node.only()
    ended = await node.runtime.exec_sync(one.id, ["/bin/sh", "-c", script], timeout_seconds=30)
    return ended.exit_code


async def test_http_readiness_follows_what_the_pod_serves(node: RealNode) -> None:
    probe = {"httpGet": {"path": "/ok", "port": 8080}, **TIMES, "failureThreshold": 1}
    await node.assign(shell(SERVES, host=False, readinessProbe=probe))
    await node.until(ready)
    assert await inside(node, "rm /tmp/w/ok") == 0
    await node.until(unready)
    assert (
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
    ) in node.events
    assert await inside(node, "echo ok > /tmp/w/ok") == 0
    status = await node.until(ready)
    assert status.containerStatuses[0].restartCount == 0, (status, node.events)


async def test_an_exec_probe_restarts_what_is_not_alive(node: RealNode) -> None:
    probe = {"exec": {"command": ["cat", "/tmp/alive"]}, **TIMES}
    script = f"[ -e /dev/shm/second ] || touch /tmp/alive /dev/shm/second; {WAITS}"
    startup = {**probe, "failureThreshold": 1000}
    await node.assign(shell(script, startupProbe=startup, livenessProbe=probe))
    await node.until(ready)
    assert await inside(node, "rm /tmp/alive") == 0
    await node.until(lambda status: status.containerStatuses[0].restartCount == 1)
    assert ("Killing", "Container app failed liveness probe, will be restarted") in node.events
    status = await node.until(unready_or_waiting)
    assert status.containerStatuses[0].started is False, "the startup probe gates the new one"
    assert await inside(node, "touch /tmp/alive") == 0
    await node.until(restarted)


def unready_or_waiting(status: PodStatus) -> bool:
    """Whether a later attempt runs and has not started."""
    [one] = status.containerStatuses
    return one.state.running is not None and one.restartCount == 1


async def test_hooks_run_in_the_container_before_running_and_before_term(
    node: RealNode, tmp_path: Path
) -> None:
    hooks = {
        "postStart": {"exec": {"command": ["/bin/sh", "-c", "touch /tmp/begun"]}},
        "preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 1; touch /tmp/stops"]}},
    }
    script = (
        "trap '[ -e /tmp/stops ] && echo -n stopped > /dev/termination-log; exit 0' TERM; "
        "while :; do sleep 0.1; done"
    )
    one = shell(script, lifecycle=hooks)
    one.spec.restartPolicy = "Never"
    await node.assign(one)
    await node.until(ready)
    assert await inside(node, "ls /tmp/begun") == 0
    one.metadata.deletionTimestamp = "2099-01-01T00:00:00Z"  # type: ignore[assignment]
    await node.assign(one)
    async with asyncio.timeout(60):
        while UID not in node.master.gone:
            await asyncio.sleep(0.02)
    messages = [
        ended.message
        for status in node.master.reports[UID]
        if (ended := status.containerStatuses[0].state.terminated) is not None
    ]
    assert messages[-1] == "stopped"


async def test_a_failed_post_start_hook_kills(node: RealNode) -> None:
    failing = {"postStart": {"exec": {"command": ["/bin/false"]}}}
    await node.assign(shell(WAITS, lifecycle=failing))
    await node.until(lambda status: status.containerStatuses[0].restartCount > 0)
    assert ("FailedPostStartHook", "PostStartHook failed") in node.events
    assert not any(ready(status) for status in node.master.reports[UID])


async def test_a_restart_of_the_kubelet_flaps_nothing(node: RealNode) -> None:
    probe = {"exec": {"command": ["true"]}, **TIMES}
    one = shell(WAITS, readinessProbe=probe, livenessProbe=probe, startupProbe=probe)
    await node.assign(one)
    one.status = await node.until(ready)
    await node.assign(one)
    before, container_id = len(node.master.reports[UID]), (await node.only()).id
    await node.restart()
    node.kubelet.synced({UID})
    await node.until(lambda status: len(node.master.reports[UID]) > before)
    assert all(ready(status) for status in node.master.reports[UID][before:])
    assert (await node.only()).id == container_id
