"""Tokens of service accounts in the volumes of pods: made, renewed, and gone with the pod."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.kubelet.volumes.volumes import Volumes
from node.runtime.fake import Program
from tests.fakes.kubelet import FakeNode
from tests.fakes.pods import UID, container, pod

if os.geteuid() != 0 and os.environ.get("CI") != "true":
    pytest.skip("mounting needs root", allow_module_level=True)
SOURCE = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}
POD = {"volumes": [{"name": "v", "projected": {"sources": [SOURCE]}}]}
FAILS = ("fails",)


@pytest.fixture(autouse=True)
def unmounted(tmp_path: Path) -> Iterator[None]:
    """Nothing stays mounted after a test."""
    yield
    Volumes(tmp_path / "pods").remove(UID)


def token(tmp_path: Path) -> str:
    """What the pod's containers see."""
    return (tmp_path / "pods" / UID / "volumes/v/token").read_text()


async def test_a_token_is_there_and_is_renewed(node: FakeNode, tmp_path: Path) -> None:
    await node.assign(pod(**POD))
    assert node.master.last(UID).phase == "Running"
    assert token(tmp_path) == "default-1"
    await node.wait(0.8 * 3607 - 11)
    assert token(tmp_path) == "default-1"
    await node.wait(11)
    assert token(tmp_path) == "default-2"
    assert node.master.tokens == 2
    await node.remove(UID)
    await node.wait(60)
    assert not (tmp_path / "pods" / UID).exists()
    await node.wait(7200)
    assert node.master.tokens == 2


async def test_a_pod_waits_for_its_first_token(node: FakeNode) -> None:
    node.master.away = True
    await node.assign(pod(**POD))
    assert (
        "FailedMount",
        "failed to fetch token of default/default: the master cannot be reached",
    ) in (node.events)
    assert node.master.last(UID).phase == "Pending"
    node.master.away = False
    await node.assign(pod(**POD))  # as the master does with each new stream
    assert node.master.last(UID).phase == "Running"


async def test_a_kubelet_without_its_master_looks_after_pods(
    node: FakeNode, tmp_path: Path
) -> None:
    """Also after a restart: what has a token keeps it, and what ends is started again."""
    node.runtime.programs |= {FAILS: Program()}
    await node.assign(pod(containers=[container(command=list(FAILS))], **POD))
    node.master.away = True
    await node.restart()
    [status] = (await node.containers()).values()
    await node.end(status.id, 3)
    await node.wait(30)
    assert "app/1" in await node.containers()
    assert token(tmp_path) == "default-1"
    node.master.away = False
    await node.wait(60)
    assert token(tmp_path) == "default-2"
