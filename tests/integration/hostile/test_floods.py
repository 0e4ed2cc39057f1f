"""One user who floods in every way at once: others are served, and nothing falls over (E3, E10)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration.security.test_rbac import bound, created
from tests.integration.security.test_revocation import kubeconfig
from tests.servers.master import ROOT, RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
GROWTH_MAX_BYTES = 300 << 20


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.full)])
def test_a_flood_by_one_user_leaves_others_served(
    master: RunningMaster, tmp_path: Path, seconds: int
) -> None:
    space, user = f"flood-{seconds}", f"flooder-{seconds}"
    created(master, "/api/v1/namespaces", {"metadata": {"name": space}})
    kubeconfig(master, tmp_path, user, "--group", "flooders")
    other = kubeconfig(master, tmp_path, f"other-{seconds}", "--group", "viewers").client()
    for group, role in (("flooders", "edit"), ("viewers", "view")):
        bound(master, f"{group}-{seconds}", role, {"kind": "Group", "name": group}, space)
    assert master.process is not None
    process = psutil.Process(master.process.pid)
    before, served = process.memory_info().rss, 0
    command = [sys.executable, "-m", "tests.fakes.hostile.flooding_user"]
    command += [str(tmp_path / f"{user}.kubeconfig"), space, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as flood:
        while flood.poll() is None:
            status, body = other.request("GET", f"/api/v1/namespaces/{space}/configmaps/none")
            assert status == 404, body
            served += 1
        grown = process.memory_info().rss - before
        said, _ = flood.communicate()
    answers = json.loads(said)
    assert {name.split()[1] for name in answers} <= {"200", "201", "429"}, answers
    assert answers["create 201"] > 0
    assert answers["watch 429"] > 0, "more watches than one user may have"
    assert served > 0
    assert grown < GROWTH_MAX_BYTES
    assert "Traceback" not in Path(master.log).read_text(errors="replace")
