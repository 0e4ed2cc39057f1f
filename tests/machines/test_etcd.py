"""A cluster of three etcd members by Ansible, and a master on it, while machines fail."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.machines.machines import Machines

pytestmark = [pytest.mark.machines, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = ROOT / "deploy/ansible/etcd.yml"
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
MEMBERS = ("m1", "n1", "n2")
URL = "https://10.97.7.10:6443"
MAPS = "/api/v1/namespaces/default/configmaps"
PATIENCE_SECONDS = 60.0
# Creates ConfigMaps one after the other, and notes each that was acknowledged, with the time.
WRITER = """
import json, pathlib, ssl, time, urllib.error, urllib.request

token = pathlib.Path("/var/lib/wherry/master/admin.token").read_text().strip()
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
number, unknown = 0, False
with open("/root/acknowledged", "w", buffering=1) as noted:
    while not pathlib.Path("/root/enough").exists():
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number:05}"}}
        asked = urllib.request.Request(URL, json.dumps(body).encode(), headers, method="POST")
        try:
            urllib.request.urlopen(asked, context=context, timeout=30).read()
        except urllib.error.HTTPError as error:
            if not (error.code == 409 and unknown):
                assert error.code in (503, 504), (error.code, error.read())
                unknown |= error.code == 504
                time.sleep(0.05)
                continue
        print(number, time.monotonic(), file=noted)
        number, unknown = number + 1, False
        time.sleep(0.02)
""".replace("URL", repr(URL + MAPS))
# What `etcdctl member remove` and `member add` do, tried again while members elect a leader.
REPLACE = """
import sys, time, grpc
from aetcd.rpc import rpc_pb2, rpc_pb2_grpc

name, peer = sys.argv[1:]
files = ("ca.crt", "member.key", "member.crt")
pems = [open(f"/etc/etcd/pki/{file}", "rb").read() for file in files]
credentials = grpc.ssl_channel_credentials(*pems)
with grpc.secure_channel("127.0.0.1:2379", credentials) as channel:
    stub = rpc_pb2_grpc.ClusterStub(channel)
    while True:
        try:
            members = stub.MemberList(rpc_pb2.MemberListRequest(), timeout=5).members
            if gone := [one.ID for one in members if one.name == name]:
                stub.MemberRemove(rpc_pb2.MemberRemoveRequest(ID=gone[0]), timeout=5)
            elif peer not in [url for one in members for url in one.peerURLs]:
                stub.MemberAdd(rpc_pb2.MemberAddRequest(peerURLs=[peer]), timeout=5)
            else:
                break
        except grpc.RpcError as error:
            print(error.details())
            time.sleep(0.5)
"""
# What a member says to the others, and they to it, is lost; its clients reach it.
CUT_OFF = """
table inet cut {
    chain out { type filter hook output priority 0; tcp dport 2380 drop; tcp sport 2380 drop; }
}
"""
REMOVE = """
nft delete table inet cut 2> /dev/null
systemctl stop etcd
rm -rf /etc/systemd/system/etcd.service.d /etc/etcd /var/lib/etcd/wherry /etc/wherry
rm -f /root/acknowledged /root/enough
systemctl daemon-reload; systemctl reset-failed; systemctl enable --now etcd
id wherry > /dev/null 2>&1 && userdel wherry
true
"""


class Playbook:
    """etcd.yml, on three of the machines."""

    def __init__(self, machines: Machines, directory: Path) -> None:
        self._machines = machines
        self._home = directory / "ansible"
        self._inventory = directory / "inventory.ini"
        self._inventory.write_text("\n".join([machines.inventory(), "[etcd]", *MEMBERS, ""]))

    def run(self) -> tuple[str, int]:
        """What it prints, and how many tasks have changed something."""
        settings = (f"ANSIBLE_HOME={self._home}", "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1")
        command = (str(ANSIBLE), "-vvv", "--diff", "-i", str(self._inventory), str(PLAYBOOK))
        said = self._machines.inside("env", *settings, *command, timeout_seconds=300)
        return said, sum(map(int, re.findall(r"changed=(\d+)", said)))


@pytest.fixture(scope="module")
def playbook(
    machines: Machines, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Playbook]:
    """The playbook; at the end the machines are as they were."""
    files = ["git", "ls-files", "-z", "deploy", "common", "setup.cfg"]
    listed = subprocess.check_output(files, cwd=ROOT)
    archive = tmp_path_factory.mktemp("checkout") / "checkout.tar"
    subprocess.run(["tar", "--null", "-T", "-", "-cf", archive], cwd=ROOT, input=listed, check=True)
    machines.put("m1", archive, "/root/etcd-checkout.tar")
    machines.put("m1", wheelhouse, "/root/etcd-wheels")
    machines.run("m1", "mkdir /root/etcd && tar -C /root/etcd -xf /root/etcd-checkout.tar")
    try:
        yield Playbook(machines, tmp_path_factory.mktemp("playbook"))
    finally:
        machines.run("m1", "touch /root/enough; wherry-uninstall --purge; true", check=False)
        for name in MEMBERS:
            machines.run(name, REMOVE)
        machines.run("m1", "rm -rf /root/etcd /root/etcd-checkout.tar /root/etcd-wheels")


@pytest.fixture(scope="module")
def master(machines: Machines, playbook: Playbook) -> Iterator[Machines]:
    """A master on m1 that uses the cluster."""
    said, changed = playbook.run()
    assert changed > 0
    assert "PRIVATE KEY" not in said
    said = machines.run(
        "m1",
        "/root/etcd/deploy/install master --wheelhouse /root/etcd-wheels",
        timeout_seconds=300,
    )
    assert f"The master serves {URL}" in said
    yield machines


def acknowledged(machines: Machines) -> list[tuple[int, float]]:
    """The numbers of what was, with the times."""
    lines = machines.run("m1", "cat /root/acknowledged").splitlines()
    return [(int(number), float(seconds)) for number, seconds in map(str.split, lines)]


def progress(machines: Machines, count: int = 20) -> None:
    """Wait for `count` more."""
    target = len(acknowledged(machines)) + count
    until(lambda: len(acknowledged(machines)) >= target)


def in_use(machines: Machines) -> str:
    """The member that the master asks: it has the most connections to it."""
    said = machines.run("m1", "ss -Htnp state established dport = 2379")
    found = re.findall(r"(10\.97\.7\.\d+)\]?:2379 .*\"wherry-master", said)
    names = {"10.97.7.10": "m1", "10.97.7.11": "n1", "10.97.7.12": "n2"}
    return names[max(found, key=found.count)]


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_second_run_changes_nothing(master: Machines, playbook: Playbook) -> None:
    _, changed = playbook.run()
    assert changed == 0
    assert master.run("m1", "pgrep -xc etcd") == "1\n", "the master has started none"
    said = master.run("m1", "/root/etcd/deploy/install master --wheelhouse /root/etcd-wheels")
    assert "writing" not in said and "restarting" not in said


def test_b3_machines_fail_and_nothing_acknowledged_is_lost(
    master: Machines, playbook: Playbook
) -> None:
    master.run("m1", "cat > /root/writer.py", input=WRITER)
    master.run("m1", "systemd-run --unit etcd-writer python3 /root/writer.py")
    until(lambda: len(acknowledged(master)) > 20)
    master.run("m1", "systemctl kill --signal KILL etcd")  # the one that the master uses
    progress(master)
    for _ in range(2):
        name = in_use(master)
        master.run(name, "nft -f -", input=CUT_OFF)
        progress(master)
        master.run(name, "nft delete table inet cut")
    master.off("n1")
    progress(master)
    master.on("n1")
    master.cut("n2")
    progress(master)
    master.heal("n2")
    master.run("n1", "systemctl stop etcd; rm -rf /var/lib/etcd/wherry")
    master.run("m1", "cat > /root/replace.py", input=REPLACE)
    replace = "/opt/wherry/current/bin/python /root/replace.py n1 https://10.97.7.11:2380"
    master.run("m1", f"timeout {PATIENCE_SECONDS:.0f} {replace}")
    playbook.run()
    progress(master)
    master.run(
        "m1", "touch /root/enough; while systemctl -q is-active etcd-writer; do sleep 0.1; done"
    )
    master.run("m1", "rm /root/writer.py /root/replace.py")
    written = acknowledged(master)
    token = "$(cat /var/lib/wherry/master/admin.token)"
    call = f'curl -sk -H "Authorization: Bearer {token}" {URL}{MAPS}'
    found = [each["metadata"]["name"] for each in json.loads(master.run("m1", call))["items"]]
    assert {f"c{number:05}" for number, _ in written} <= set(found)
    assert [number for number, _ in written] == list(range(len(written)))
    times = [seconds for _, seconds in written]
    longest = max(later - one for one, later in itertools.pairwise(times))
    print(f"{len(written)} writes; for {longest:.1f} s none was acknowledged, at the worst")
