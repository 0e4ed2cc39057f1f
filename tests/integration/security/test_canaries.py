"""G19: what a master and a joining node know of secrets is in the files that are for it only."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.api.scheme import SCHEME
from common.client.https import KubeConfig
from common.systemd.levels import SIGNALS
from master.apiserver.rest.openapi.operations import path_of
from tests.fakes.hostile.canaries import Canaries, files_below, open_to_others, processes_below
from tests.integration.machine import Machine
from tests.integration.security.test_access import wherry
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
SECRETS = "/api/v1/namespaces/default/secrets"
CANARY = b"canary-in-the-coal-mine"
KEY_FILES = {
    "data/admin.kubeconfig",
    "data/admin.token",
    "data/pki/server.key",
    "data/pki/server-ca/ca.key",
    "data/pki/client-ca/ca.key",
    "data/etcd/pki/ca.key",
    "data/etcd/pki/client.key",
    "data/etcd/pki/server.key",
    "mia.kubeconfig",
    "node-pki/node.pem",
    "token",
}
"""The files that hold a secret because it is theirs."""


def keys_of(directory: Path) -> dict[str, bytes]:
    """Every private key that a file below the directory holds for itself."""
    found = {}
    for name in KEY_FILES:
        if name.endswith((".key", ".pem")):
            found[name] = (directory / name).read_bytes()
        elif name.endswith(".kubeconfig"):
            pair = KubeConfig(directory / name).certificate
            assert pair is not None
            found[name] = pair.key_pem
    return found


async def live(master: RunningMaster, directory: Path, canaries: Canaries) -> None:
    """A node joins and is asked for logs, a kubeconfig and a Secret are made and used, the
    authorities are replaced; each secret that there was becomes a canary."""
    assert master.process is not None
    master.process.send_signal(SIGNALS["debug"])
    machine = await asyncio.to_thread(Machine, master, directory)
    running = asyncio.create_task(machine.run())
    await machine.until(lambda: machine.stream.connected)
    file = directory / "mia.kubeconfig"
    await asyncio.to_thread(wherry, master, "kubeconfig", "create", "mia", "-o", str(file))
    encoded = base64.b64encode(CANARY).decode()
    body = {"metadata": {"name": "canary"}, "data": {"k": encoded}}
    master.admin().json("POST", SECRETS, body)
    master.admin().json("PATCH", f"{SECRETS}/canary", {"data": {"other": encoded}})
    bad = {"metadata": {"name": "bad"}, "data": {"k": f"{encoded}!"}}
    assert master.admin().request("POST", SECRETS, json.dumps(bad).encode())[0] == 400
    keys = keys_of(directory)
    await asyncio.to_thread(wherry, master, "kubeconfig", "revoke", "mia")
    await asyncio.to_thread(wherry, master, "ca", "rotate")
    canaries.add("join token", machine.token.read_bytes().strip().rpartition(b".")[2])
    canaries.add("admin token", (directory / "data/admin.token").read_bytes().strip())
    canaries.add("data of a Secret", CANARY)
    for when, found in (("former", keys), ("present", keys_of(directory))):
        for name, pem in found.items():
            canaries.add_keys(f"{when} {name}", pem)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def answers(master: RunningMaster) -> Iterator[tuple[str, bytes]]:
    """Everything that the API tells of objects but Secrets, with its path."""
    for resource in SCHEME.resources():
        if "list" in resource.verbs and resource.plural != "secrets":
            path = f"/{path_of(resource)}/{resource.plural}"
            yield path, master.admin().request("GET", path)[1]


async def test_secrets_are_in_their_own_files_only(
    own_master: RunningMaster, tmp_path: Path
) -> None:
    canaries = Canaries()
    await live(own_master, tmp_path, canaries)
    own = {str(tmp_path / name) for name in KEY_FILES}
    found = canaries.in_files(files_below(tmp_path))
    assert found.keys() <= own, {name: found[name] for name in found.keys() - own}
    assert found.keys() == own, "the search finds what is there"
    assert open_to_others(map(Path, found)) == [str(tmp_path / "token")], "the test's own file"
    assert "answered" in own_master.log.read_text(), "it has logged at level debug"
    assert own_master.process is not None
    processes = processes_below(own_master.process.pid)
    assert len(processes) >= 2
    assert canaries.in_processes(processes) == {}
    shown: dict[str, Any] = {path: canaries.in_data(data) for path, data in answers(own_master)}
    assert len(shown) > 10
    assert {path: names for path, names in shown.items() if names} == {}
