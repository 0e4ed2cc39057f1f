"""Debian 12 as it is installed, with a kernel and a disk of its own: what a container cannot prove.

That is cgroups v2 with crun and systemd, a true reboot, and a power cut that loses what was not
synced. One machine is the master and the node.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.bundle.contents import packages
from tests.machines.guest import ADDRESS, Guest, missing
from tests.machines.machines import TRACES
from tests.machines.tools.ansible import ROOT
from tests.machines.tools.hello import IMAGE, PIDS, archive_of_demo

pytestmark = [pytest.mark.full, pytest.mark.machines, pytest.mark.timeout(3600)]

URL = f"https://{ADDRESS}:6443"
NODE_PORT = 30080
UNITS = ("wherry-master", "wherry-kubelet", "wherry-kube-proxy")
PLACE = "/root/bundle"
INSTALL = f"{PLACE}/deploy/install"
UNPACK = f"""
set -e
mkdir {PLACE}
tar -C {PLACE} --strip-components=1 -xzf /root/bundle.tar.gz
rm /root/bundle.tar.gz
for part in common environment install real; do source {PLACE}/deploy/lib/$part.sh; done
packages_install {" ".join(packages())}
"""
JOIN = f"""
umask 077
wherry token create --uses 1 > /root/token
{INSTALL} node --server {URL} --token-file /root/token
rm /root/token
"""
LOOK = """
wherry get pods -o wide; wherry get nodes
systemctl status --no-pager --lines 0 wherry-kubelet wherry-kube-proxy podman.service
for unit in wherry-kubelet podman wherry-master; do journalctl -b -n 40 -o short -u $unit; done
timeout 20 podman ps --all
"""
PATIENCE = ("periodSeconds: 2", "timeoutSeconds: 20")
"""A probe's second is short where a busy machine needs several for an answer."""
DOWN_SECONDS = 80.0
"""systemd alone would wait 90 s for a program that ignores TERM, as the demo does."""
SETTLE_SECONDS = 600.0


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest that has booted, and nothing of Wherry on it."""
    lacking = missing()
    if lacking and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {', '.join(lacking)}")
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)}")
    made = Guest(tmp_path_factory.mktemp("guest"), [NODE_PORT])
    try:
        made.make()
        made.on()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def before(guest: Guest, bundle: Path) -> str:
    """The bundle is unpacked and its packages are installed; what the guest is like then."""
    guest.put(bundle, "/root/bundle.tar.gz")
    guest.run(UNPACK, timeout_seconds=1200)
    return guest.run(TRACES, check=False)


@pytest.fixture(scope="module")
def installed(guest: Guest, before: str) -> Guest:
    """A master and a node."""
    assert before
    said = guest.run(f"{INSTALL} master", timeout_seconds=900)
    assert f"The master serves {URL}" in said
    said = guest.run(JOIN, timeout_seconds=900)
    assert "The node is Ready" in said
    return guest


@pytest.fixture(scope="module")
def hello(installed: Guest, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """Three web servers, which the host reaches by their node port."""
    installed.put(archive_of_demo(tmp_path_factory.mktemp("demo")), "/root/demo.tar")
    installed.run(IMAGE)
    manifest = (ROOT / "deploy/examples/hello.yaml").read_text()
    for line, another in (("targetPort: http", f"nodePort: {NODE_PORT}"), PATIENCE):
        assert manifest.count(line) == 1
        manifest = re.sub(rf"^( +){line}$", rf"\g<0>\n\1{another}", manifest, flags=re.M)
    installed.run("wherry apply -f -", input=manifest)
    wait_for(installed, "hello", lambda: is_whole(installed))
    return installed


def is_whole(guest: Guest) -> bool:
    """Whether all three pods are ready and answer."""
    said = guest.run("wherry get deployment hello -o json", check=False)
    try:
        ready = json.loads(said)["status"].get("readyReplicas")
    except ValueError:
        return False
    return bool(ready == 3) and len(answers(guest)) == 3


def answers(guest: Guest) -> set[str]:
    """What the host gets from the node port in some calls; nothing when one of them fails."""
    url = f"http://127.0.0.1:{guest.ports[NODE_PORT]}/"
    found = set()
    try:
        for _ in range(20):
            with urllib.request.urlopen(url, timeout=10) as answer:
                found.add(answer.read().decode())
    except OSError:
        return set()
    return found


def wait_for(guest: Guest, what: str, condition: Callable[[], bool]) -> None:
    """Until it is so."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not in time\n{guest.run(LOOK, check=False)}")
        time.sleep(1)


def test_debian_chooses_crun_and_cgroups_v2(before: str, guest: Guest) -> None:
    assert before
    host = json.loads(guest.run("podman info --format json"))["host"]
    assert host["ociRuntime"]["name"] == "crun"
    assert host["cgroupVersion"] == "v2"
    assert host["cgroupManager"] == "systemd"


def test_a_node_port_leads_to_pods(hello: Guest) -> None:
    assert len(answers(hello)) == 3


def test_a_pod_has_its_limits(hello: Guest) -> None:
    pid = "$(podman ps --filter name=web --format '{{.Pid}}' | head -n 1)"
    group = f"/sys/fs/cgroup$(cut -d: -f3 /proc/{pid}/cgroup)"
    assert hello.run(f"cat {group}/memory.max") == f"{64 << 20}\n"


def test_a_restart_of_all_units_restarts_no_container(hello: Guest) -> None:
    was = hello.run(PIDS)
    assert was.count("\n") >= 3
    hello.run(f"systemctl restart podman.service {' '.join(UNITS)}", timeout_seconds=900)
    wait_for(hello, "hello after a restart of all units", lambda: is_whole(hello))
    assert hello.run(PIDS) == was


def test_after_a_reboot_all_comes_back_by_itself(hello: Guest) -> None:
    took = hello.reboot()
    said = hello.run("journalctl --boot -1 --no-pager -o short-precise")
    assert "the machine goes down: pods are stopped" in said
    assert "timed out" not in said[said.index("the machine goes down: pods are stopped") :]
    assert took < DOWN_SECONDS, said[-10_000:]
    wait_for(hello, "hello after a reboot", lambda: is_whole(hello))


def test_what_was_acknowledged_outlives_a_power_cut(hello: Guest) -> None:
    """A file that nobody has synced does not: the cut is a true one."""
    manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: kept}, data: {word: durable}}"
    hello.run("wherry apply -f -; echo lost > /root/unsynced", input=manifest)
    hello.cut_power()
    hello.on()
    wait_for(hello, "hello after a power cut", lambda: is_whole(hello))
    assert "durable" in hello.run("wherry get configmap kept -o yaml")
    assert "lost" not in hello.run("cat /root/unsynced", check=False)
    assert hello.run(f"systemctl is-active {' '.join(UNITS)}").split() == ["active"] * len(UNITS)


def test_uninstall_leaves_what_was_there_before(hello: Guest, before: str) -> None:
    said = hello.run(f"{PLACE}/deploy/uninstall --purge", timeout_seconds=600)
    assert "gone: " in said
    assert hello.run(TRACES, check=False) == before
