"""Removals that meet: a worker that is cut off leaves a thread behind that goes on unmounting."""

import asyncio
from pathlib import Path

import pytest

from common.runtime.offload import Offload
from node.network.sandbox import NamespaceSandbox
from tests.contract.sandbox.conftest import a_spec

pytestmark = pytest.mark.netns


async def test_two_removals_at_once_leave_nothing_and_neither_fails(
    machine: Offload, tmp_path: Path
) -> None:
    sandbox = NamespaceSandbox(tmp_path / "sandboxes", machine)
    status = await sandbox.create(a_spec())
    await asyncio.gather(*[sandbox.remove(status.pod_uid) for _ in range(4)])
    assert await sandbox.list() == []
    assert not Path(status.directory).exists()
