"""Tokens of service accounts on a running master: asked for with kubectl, shown, and ended."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import pytest

from tests.e2e.cluster import kubectls
from tests.fakes.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
DEFAULT = "/api/v1/namespaces/default"


def kubectl(master: RunningMaster, *arguments: str) -> tuple[str, bool]:
    """(What kubectl prints for the administrator, whether it succeeds.)"""
    done = subprocess.run(
        [kubectls()[0], "--kubeconfig", master.directory / "data/admin.kubeconfig", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return (done.stdout + done.stderr).strip(), done.returncode == 0


def claims_of(token: str) -> dict[str, Any]:
    """What a token says."""
    text = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def test_kubectl_creates_a_token(master: RunningMaster) -> None:
    token, done = kubectl(master, "create", "token", "default", "--duration=20m")
    assert done, token
    claims = claims_of(token)
    assert claims["sub"] == "system:serviceaccount:default:default"
    assert claims["exp"] - claims["iat"] == 1200
    said, done = kubectl(master, "create", "token", "default", "--duration=5m")
    assert not done
    assert "may not specify a duration less than 10 minutes" in said
    said, done = kubectl(master, "create", "token", "nobody")
    assert not done
    assert 'serviceaccounts "nobody" not found' in said


def test_a_token_is_nowhere_but_in_its_answer(master: RunningMaster) -> None:
    """Neither the log nor the files of the master have it."""
    token, done = kubectl(master, "create", "token", "default")
    assert done
    signature = token.rpartition(".")[2].encode()
    files = [path for path in master.directory.rglob("*") if path.is_file()]
    assert master.log in files
    assert [path for path in files if signature in path.read_bytes()] == []
