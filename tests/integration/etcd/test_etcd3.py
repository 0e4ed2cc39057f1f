"""The unmodified python-etcd3 0.12 as a reader of the gateway.

It cannot be imported beside a current protobuf, and has a virtual environment of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.integration.etcd.test_gateway import Served, delete, put, served, value
from tests.servers.etcd import etcd

__all__ = ["etcd", "served"]

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("etcd3==0.12.0", "protobuf==3.20.3")
SCRIPT = Path(__file__).with_name("etcd3_watcher.py")


@pytest.fixture(scope="session")
def python_etcd3() -> Path:
    """The Python of an environment with python-etcd3; made once and kept."""
    directory = ROOT / ".venv-etcd3"
    python, stamp = directory / "bin/python", directory / "stamp"
    with Path(f"{directory}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
            install = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
            subprocess.run([*install, "--disable-pip-version-check"], check=True)
            stamp.touch()
    return python


async def test_python_etcd3_reads_and_watches_and_cannot_write(
    served: Served, python_etcd3: Path, tmp_path: Path
) -> None:
    await put(served, "web", "1")
    pair = served.ca.issue_client("system:node:n1", organizations=("system:nodes",))
    (tmp_path / "ca.pem").write_bytes(served.ca.certificate_pem)
    (tmp_path / "cert.pem").write_bytes(pair.certificate_pem)
    (tmp_path / "key.pem").write_bytes(pair.key_pem)
    port = served.target.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        str(python_etcd3), str(SCRIPT), port, str(tmp_path), "3", stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None

    async def line() -> dict[str, Any]:
        assert process.stdout is not None
        assert process.stderr is not None
        text = await process.stdout.readline()
        assert text, (await process.stderr.read()).decode()
        found: dict[str, Any] = json.loads(text)
        return found

    async with asyncio.timeout(60):
        first = await line()
        assert first["read"] == "/wherry/registry/services/default/web"
        assert first["value"] == value("1").decode()
        assert "refused" in await line()
        assert await line() == {"watching": True}
        await put(served, "web", "2")
        await put(served, "api", "3")
        await delete(served, "web")
        seen = [await line() for _ in range(3)]
        assert await process.wait() == 0
    assert [(e["event"], e["key"].rpartition("/")[2], e["value"]) for e in seen] == [
        ("PutEvent", "web", value("2").decode()),
        ("PutEvent", "api", value("3").decode()),
        ("DeleteEvent", "web", ""),
    ]
    found, _ = await served.store.get("/wherry/registry/services/default/evil")
    assert found is None
