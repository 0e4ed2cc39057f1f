"""The program wherry-kube-proxy: what it waits for, and what it tells systemd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority
from common.systemd import exits
from tests.fakes.peers.systemd import Systemd

WAIT_SECONDS = 30.0
COMMAND = [sys.executable, "-m", "node.kubeproxy", "--config", "/dev/null"]


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def proxy(tmp_path: Path, systemd: Systemd) -> Iterator[subprocess.Popen[bytes]]:
    """On a machine whose kubelet has not joined, and whose master is away."""
    command = [*COMMAND, "--master", "https://127.0.0.1:1", "--node-name", "n1"]
    command += ["--data-dir", str(tmp_path), "--run-dir", str(tmp_path)]
    environment = {**os.environ, "NOTIFY_SOCKET": systemd.address}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


def wait_for(systemd: Systemd, status: str) -> None:
    """Until systemd has heard that the service is ready, in these words."""
    deadline, heard = time.monotonic() + WAIT_SECONDS, []
    while f"READY=1\nSTATUS={status}" not in heard:
        assert time.monotonic() < deadline, heard
        heard += systemd.heard()
        time.sleep(0.02)


def test_it_waits_for_the_kubelet_and_learns_the_ranges_from_it(
    proxy: subprocess.Popen[bytes], systemd: Systemd, tmp_path: Path
) -> None:
    wait_for(systemd, "waiting for the kubelet to join")
    authority = CertificateAuthority.create("wherry", SystemClock())
    pair = authority.issue_client("system:node:n1")
    pki = tmp_path / "node-pki"
    pki.mkdir(mode=0o700)
    (pki / "ca.crt").write_bytes(authority.certificate_pem)
    (pki / "node.key").write_bytes(pair.key_pem)
    (pki / "node.crt").write_bytes(pair.certificate_pem)
    wait_for(systemd, "waiting for the kubelet to hear of the master")
    network = {"cluster_cidr": "10.64.0.0/16", "service_cidr": "10.65.0.0/16", "peers": []}
    (tmp_path / "network.json").write_text(json.dumps(network))
    wait_for(systemd, "node n1, services of https://127.0.0.1:1")
    assert proxy.poll() is None


def test_a_wrong_setting_ends_it_for_good() -> None:
    done = subprocess.run([*COMMAND, "--cluster-cidr", "x"], capture_output=True, check=False)
    assert done.returncode == exits.CONFIGURATION
    assert b"wherry-kube-proxy: --cluster-cidr x:" in done.stderr
