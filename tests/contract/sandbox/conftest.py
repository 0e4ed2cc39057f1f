"""Every test that takes `sandbox` runs on the fake and on real namespaces."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.runtime.offload import Offload
from node.network.sandbox import NamespaceSandbox
from node.runtime.base import Sandbox, SandboxSpec
from tests.fakes.sandbox import FakeSandbox, own_machine


def a_spec(number: int = 2, *, address: str | None = None, **fields: object) -> SandboxSpec:
    """The sandbox of a test pod; its number is in its uid, its name and its address."""
    return SandboxSpec(
        pod_uid=f"5c1f0b9e-0000-4000-8000-{number:012d}",
        pod_namespace="default",
        pod_name=f"web-{number}",
        hostname=f"web-{number}",
        address=f"10.42.7.{number}" if address is None else address,
        hosts="127.0.0.1 localhost\n",
        resolv_conf="nameserver 10.43.0.10\n",
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture
async def machine() -> AsyncIterator[Offload]:
    """Calls on a machine of its own; it ends with everything on it."""
    offload = await own_machine()
    yield offload
    offload.close()


@pytest.fixture
def real(machine: Offload, tmp_path: Path) -> NamespaceSandbox:
    """Real sandboxes on that machine."""
    return NamespaceSandbox(tmp_path / "sandboxes", machine)


@pytest.fixture(params=["fake", pytest.param("namespaces", marks=pytest.mark.netns)])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """A Sandbox without a pod."""
    return FakeSandbox() if request.param == "fake" else request.getfixturevalue("real")
