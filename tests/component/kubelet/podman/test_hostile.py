"""Hostile and unusual pods on a real Podman: what they do stays theirs, and goes with them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from common.api.codec import json as codec
from node.kubelet.streams import logs
from node.kubelet.streams.logs import LogQuery
from node.runtime.podman_json import LOG_MAX_BYTES
from protos import node_v1_pb2
from tests.component.kubelet.podman.test_podman import WAIT_SECONDS, RealNode, log_of, node
from tests.fakes.hostile import pod as hostile_pod
from tests.fakes.pods import UID, container, pod
from tests.servers.podman import TEST_IMAGE, podman

__all__ = ["node", "podman"]

pytestmark = pytest.mark.podman


async def test_a_pod_that_nests_directories_and_floods_its_files_can_be_deleted(
    node: RealNode, tmp_path: Path
) -> None:
    waits = "echo done; trap 'exit 0' TERM; sleep 1000 & wait"
    script = hostile_pod.NESTS + hostile_pod.FILLS + waits
    await node.assign(
        pod(
            hostNetwork=True,
            containers=[
                container(
                    image=TEST_IMAGE,
                    command=["/bin/sh", "-c", script],
                    volumeMounts=[{"name": "v", "mountPath": "/v"}],
                )
            ],
            volumes=[{"name": "v", "emptyDir": {}}],
        )
    )
    async with asyncio.timeout(WAIT_SECONDS):
        while not (log_of(tmp_path).exists() and "done" in log_of(tmp_path).read_text()):
            await asyncio.sleep(0.05)
    [sandbox] = await node.sandbox.list()
    sizes = [(Path(sandbox.directory) / "etc" / n).stat().st_size for n in ("hosts", "resolv.conf")]
    assert sum(sizes) < 1 << 20
    await node.remove(UID)
    async with asyncio.timeout(WAIT_SECONDS):
        while await node.runtime.list_containers() or (tmp_path / "pods" / UID).exists():
            await asyncio.sleep(0.05)
    assert await node.sandbox.list() == []


async def test_a_volume_is_mounted_below_one_that_may_not_be_written_to(
    node: RealNode, tmp_path: Path
) -> None:
    """k/k#60341: an empty directory below a ConfigMap, given in either order."""
    one = pod(
        hostNetwork=True,
        restartPolicy="Never",
        containers=[
            container(
                image=TEST_IMAGE,
                command=["/bin/sh", "-c", "echo x > /etc/app/deep/cache/x; ls /etc/app"],
                volumeMounts=[
                    {"name": "cache", "mountPath": "/etc/app/deep/cache"},
                    {"name": "settings", "mountPath": "etc/app"},
                ],
            )
        ],
        volumes=[
            {"name": "cache", "emptyDir": {}},
            {"name": "settings", "configMap": {"name": "settings"}},
        ],
    )
    found = b'{"metadata": {"name": "settings", "resourceVersion": "7"}, "data": {"a": "1"}}'
    told = node_v1_pb2.PodAssignment(pod=codec.encode(one), config_maps=[found])
    node.kubelet.assign(told)
    status = await node.until(lambda status: status.phase in ("Succeeded", "Failed"))
    assert status.phase == "Succeeded", status
    said = [line.split(" ", 3)[3] for line in log_of(tmp_path).read_text().splitlines()]
    assert said == ["a", "deep"]


async def test_a_flood_of_lines_without_ends_is_bounded_on_disk_and_followed_to_its_end(
    node: RealNode, tmp_path: Path
) -> None:
    """Catalogue row C19: 40 MB of zeros as one line; the log is replaced while it is followed."""
    script = f"echo begin\n{hostile_pod.FLOODS}echo end"
    await node.assign(
        pod(
            hostNetwork=True,
            restartPolicy="Never",
            containers=[container(image=TEST_IMAGE, command=["/bin/sh", "-c", script])],
        )
    )
    file = log_of(tmp_path)
    async with asyncio.timeout(WAIT_SECONDS):
        while not file.exists():
            await asyncio.sleep(0.01)
    query = LogQuery(follow=True, timestamps=False, tail_lines=-1, since_ms=0, limit_bytes=0)
    last, largest = b"", 0
    stream = logs.stream(
        file,
        query,
        running=lambda: node.master.last(UID).phase not in ("Succeeded", "Failed"),
        clock=node.clock,
        offload=node.offload,
    )
    async for piece in stream:
        last = (last + piece)[-100:]
        largest = max(largest, _size_of(file.parent))
    assert last.endswith(b"x\nend\n")
    assert largest < 3 * LOG_MAX_BYTES


def _size_of(directory: Path) -> int:
    """Of all files; one may be renamed while they are counted, as a full log is."""
    sizes = []
    for file in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            sizes.append(file.stat().st_size)
    return sum(sizes)
