"""The playbooks on four machines: m1 the master, n1, n2, n3 its nodes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.machines.machines import NAMES, TRACES, Machines
from tests.machines.tools.ansible import (
    PLAYBOOKS,
    PROGRAM,
    Playbooks,
    changed,
    is_success,
)
from tests.machines.tools.hello import PIDS, deploy_hello, is_whole, until
from tests.machines.tools.wheels import other_version

pytestmark = [pytest.mark.machines, pytest.mark.timeout(900)]

NODES = ("n1", "n2", "n3")
URL = "https://10.97.7.10:6443"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  nodeName: n2
  terminationGracePeriodSeconds: 0
  containers: [{name: web, image: localhost/wherry-demo, imagePullPolicy: Never}]
"""
# It starts, as far as can be seen before it is used.
BROKEN = """
import sys
def main():
    if "--help" not in sys.argv:
        sys.exit(3)
"""


def traces(machines: Machines, name: str) -> set[str]:
    """What an install could change on a machine."""
    also = "ls -d /var/lib/wherry /var/cache/wherry /run/wherry /run/wherry-join.token"
    return set(machines.run(name, f"{TRACES}; {also}", check=False).splitlines())


@pytest.fixture(scope="module")
def before(machines: Machines) -> Iterator[dict[str, set[str]]]:
    """What the machines are like before an install; m1's etcd does not run."""
    machines.run("m1", "systemctl disable --now etcd.service")
    yield {name: traces(machines, name) for name in NAMES}
    machines.run("m1", "systemctl enable --now etcd.service")


@pytest.fixture(scope="module")
def playbooks(
    machines: Machines,
    before: dict[str, set[str]],
    bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Playbooks]:
    """The playbooks of this checkout; nothing of Wherry is left in the end."""
    assert before
    made = Playbooks(machines, bundle, tmp_path_factory.mktemp("ansible"))
    try:
        yield made
    finally:
        made.run("uninstall.yml", "-e", "wherry_purge=true", check=False)


@pytest.fixture(scope="module")
def said(playbooks: Playbooks) -> str:
    """What site.yml has said, with everything that Ansible can tell, when it made the cluster."""
    return playbooks.run("site.yml", "-vvv")


def test_an_inventory_without_a_master_is_refused(playbooks: Playbooks, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(re.sub(r"^m1 .*\n", "", playbooks.machines.inventory(), flags=re.M))
    said = playbooks.run("site.yml", "-i", str(inventory), check=False)
    assert "the inventory needs a group `master` with one machine; it has 0" in said
    assert not is_success(said)
    assert sum(changed(said).values()) == 0


def test_a_bundle_that_was_cut_short_is_refused(
    playbooks: Playbooks, before: dict[str, set[str]], tmp_path: Path
) -> None:
    cut = tmp_path / "wherry-9-amd64.tar.gz"
    cut.write_bytes(playbooks.bundle.read_bytes()[:50_000_000])
    said = playbooks.run("site.yml", "-e", f"wherry_bundle={cut}", check=False)
    assert f"{cut} was cut short or is damaged: make it again, or copy it again" in said
    assert not is_success(said)
    assert sum(changed(said).values()) == 0
    assert traces(playbooks.machines, "m1") ^ before["m1"] == set()


def test_a_check_tells_that_all_would_change_and_changes_nothing(
    playbooks: Playbooks, before: dict[str, set[str]]
) -> None:
    said = playbooks.run("site.yml", "--check", "--diff")
    assert all(changed(said)[name] > 0 for name in NAMES)
    for name in NAMES:
        assert traces(playbooks.machines, name) ^ before[name] == set()


def test_a_site_is_three_ready_nodes(playbooks: Playbooks, said: str) -> None:
    assert all(changed(said)[name] > 0 for name in NAMES)
    nodes = playbooks.machines.run("m1", "wherry get nodes").splitlines()[1:]
    assert [line.split()[:2] for line in nodes] == [[name, "Ready"] for name in NODES]


def test_no_token_is_told_or_kept(playbooks: Playbooks, said: str) -> None:
    form = r"[a-z0-9]{6}\.[a-z2-7]{26}"
    assert re.search(form, playbooks.machines.run("m1", "wherry token create --uses 1"))
    assert not re.search(form, said)
    for name in NAMES:
        journal = playbooks.machines.run(name, "journalctl --no-pager -o cat")
        assert not re.search(form, journal)
        assert "wherry" in journal
        assert playbooks.machines.run(name, "ls /etc/wherry").count("token") == 0
        assert not playbooks.machines.run(name, "find /run /tmp /root -name '*token*'")


def test_a_second_run_changes_nothing(playbooks: Playbooks, said: str) -> None:
    assert said
    again = playbooks.run("site.yml")
    assert changed(again) == all_of(0)
    check = playbooks.run("site.yml", "--check", "--diff")
    assert changed(check) == all_of(0)
    assert check.count("nothing to change") == len(NAMES)


def test_a_check_shows_a_setting_that_would_change(playbooks: Playbooks, said: str) -> None:
    """As it is written then, and nothing else changes; a setting that is no more is removed."""
    assert said
    capacity = ("-e", json.dumps({"wherry_kubelet_settings": {"capacity": "cpu=1,memory=1Gi"}}))
    limit = ("--limit", "n1")
    check = playbooks.run("site.yml", *limit, *capacity, "--check", "--diff")
    assert "+capacity: cpu=1,memory=1Gi" in check
    file = "/etc/wherry/kubelet.yaml.d/10-ansible.yaml"
    assert "No such file" in playbooks.machines.run("n1", f"cat {file}", check=False)
    playbooks.run("site.yml", *limit, *capacity)
    assert playbooks.machines.run("n1", f"cat {file}") == "capacity: cpu=1,memory=1Gi\n"
    until(lambda: capacity_of(playbooks.machines, "n1") == "1", "n1 has its capacity")
    playbooks.run("site.yml", *limit)
    assert "No such file" in playbooks.machines.run("n1", f"cat {file}", check=False)


def capacity_of(machines: Machines, name: str) -> str:
    """The CPUs that a node offers."""
    found = json.loads(machines.run("m1", f"wherry get node {name} -o json"))
    return str(found["status"]["capacity"]["cpu"])


def test_the_cluster_tells_its_machines(playbooks: Playbooks, said: str, tmp_path: Path) -> None:
    """To who has a kubeconfig, on the LAN."""
    assert said
    kubeconfig = tmp_path / "admin.kubeconfig"
    playbooks.machines.get("m1", "/var/lib/wherry/master/admin.kubeconfig", kubeconfig)
    path = f"PATH={PROGRAM.parent}:{os.environ['PATH']}"
    script = str(PLAYBOOKS / "cluster.py")
    asked = playbooks.machines.inside("env", path, f"KUBECONFIG={kubeconfig}", script, "--list")
    found = json.loads(asked)
    assert (found["master"], found["nodes"]) == ({"hosts": ["10.97.7.10"]}, {"hosts": [*NODES]})
    assert found["all"]["vars"]["wherry_server"] == URL


def test_hello_answers_on_its_node_port_from_outside(playbooks: Playbooks, said: str) -> None:
    assert said
    machines = playbooks.machines
    port = deploy_hello(machines, *NODES)
    for address in ("10.97.7.11", "10.97.7.13"):
        call = f"curl --silent --max-time 2 http://{address}:{port}/ || true"
        until(partial(answers, machines, call), f"hello answers at {address}")


def answers(machines: Machines, call: str) -> bool:
    """Whether a call from outside the machines is answered by a pod."""
    return "hello" in machines.inside("bash", "-c", call)


@pytest.fixture(scope="module")
def newer(playbooks: Playbooks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a newer version."""
    return other_version(playbooks.bundle, "0.9.1", tmp_path_factory.mktemp("newer"))


def versions(machines: Machines) -> dict[str, str]:
    """The version of the master and of each node that is Ready."""
    said = machines.run("m1", "wherry version; wherry get nodes")
    found = dict(re.findall(r"^node (\S+) (\S+?),?(?: |$)", said, re.M))
    ready = re.findall(r"^(\S+) +Ready +", said, re.M)
    master = re.search(r"^master (\S+)", said, re.M)
    assert master, said
    return {"m1": master[1]} | {name: found[name] for name in ready}


def all_of(value: object) -> dict[str, object]:
    """The same of each machine."""
    return dict.fromkeys(NAMES, value)


def test_an_upgrade_in_place_and_back_touches_no_pod(playbooks: Playbooks, newer: Path) -> None:
    """By site.yml, and back without any bundle."""
    machines, limit = playbooks.machines, ("--limit", "n2")
    machines.run("m1", "wherry apply --wait -f -", input=POD)
    own, were = versions(machines)["n2"], machines.run("n2", PIDS)
    former = machines.run("n2", "basename $(readlink /opt/wherry/current)").strip()
    assert "wherry-" in were
    playbooks.run("site.yml", *limit, "-e", f"wherry_bundle={newer}")
    assert versions(machines)["n2"] == "0.9.1"
    assert machines.run("n2", PIDS) == were
    back = ("-e", f"wherry_version={former}")
    check = playbooks.run("site.yml", *limit, *back, "--check")
    assert "would be linking /opt/wherry/current" in check
    playbooks.run("site.yml", *limit, *back)
    assert versions(machines) == all_of(own)
    assert machines.run("n2", PIDS) == were


def test_a_version_that_is_not_there_is_refused(playbooks: Playbooks) -> None:
    said = playbooks.run("upgrade.yml", "-e", "wherry_version=0.0.0", check=False)
    assert re.search(r"there is no 0\.0\.0 in /opt/wherry; there is \d\S+-\w+", said)
    assert sum(changed(said).values()) == 0


@pytest.mark.full
def test_an_upgrade_stops_where_pods_would_be_lost(playbooks: Playbooks, newer: Path) -> None:
    """n1 is upgraded, n2 keeps its version and its pods, n3 is not tried."""
    machines = playbooks.machines
    own = versions(machines)["n2"]
    said = playbooks.run("upgrade.yml", "-e", f"wherry_bundle={newer}", check=False)
    assert not is_success(said)
    told = " ".join(said.split())  # Ansible breaks lines
    assert "no controller would make these pods of n2 again: default/alone; --force" in told
    assert versions(machines) == {"m1": "0.9.1", "n1": "0.9.1", "n2": own, "n3": own}
    assert "SchedulingDisabled" not in machines.run("m1", "wherry get nodes")


@pytest.mark.full
def test_an_upgrade_goes_node_by_node(playbooks: Playbooks, newer: Path) -> None:
    machines = playbooks.machines
    machines.run("m1", "wherry delete pod alone")
    said = playbooks.run("upgrade.yml", "-e", f"wherry_bundle={newer}")
    assert versions(machines) == all_of("0.9.1")
    assert changed(said)["n1"] == 0
    assert all(changed(said)[name] > 0 for name in ("n2", "n3"))
    assert "wherry-" not in machines.run("n3", PIDS), "its pods were moved away"
    until(partial(is_whole, machines), "hello runs elsewhere")
    assert "SchedulingDisabled" not in machines.run("m1", "wherry get nodes")
    again = playbooks.run("upgrade.yml", "-e", f"wherry_bundle={newer}")
    assert changed(again) == all_of(0)


@pytest.mark.full
def test_a_version_that_cannot_start_changes_nothing(playbooks: Playbooks, tmp_path: Path) -> None:
    changes = {"node/__main__.py": "raise ImportError('half of it is missing')\n"}
    broken = other_version(playbooks.bundle, "0.9.2", tmp_path, changes)
    said = playbooks.run("upgrade.yml", "-e", f"wherry_bundle={broken}", check=False)
    assert not is_success(said)
    assert "it cannot be installed, nothing has changed" in said
    assert "ImportError: half of it is missing" in said
    assert versions(playbooks.machines) == all_of("0.9.1")


@pytest.mark.full
def test_a_version_that_does_not_get_ready_goes_again(
    playbooks: Playbooks, newer: Path, tmp_path: Path
) -> None:
    """On the first node; the next one is not tried."""
    machines = playbooks.machines
    broken = other_version(
        playbooks.bundle, "0.9.3", tmp_path, {"node/kubeproxy/__main__.py": BROKEN}
    )
    said = playbooks.run("upgrade.yml", "-e", f"wherry_bundle={broken}", check=False)
    assert not is_success(said)
    assert re.search(
        r"/opt/wherry/0.9.3-\w+ did not get ready: /opt/wherry/0.9.1-\w+ runs again", said
    )
    assert versions(machines) == {"m1": "0.9.3", "n1": "0.9.1", "n2": "0.9.1", "n3": "0.9.1"}
    assert "SchedulingDisabled" not in machines.run("m1", "wherry get nodes")


def test_authorities_are_replaced_and_no_container_restarts(playbooks: Playbooks) -> None:
    machines = playbooks.machines
    was = {name: machines.run(name, PIDS) for name in NODES}
    authority = "cat /var/lib/wherry/node/node-pki/ca.crt"
    before = machines.run("n1", authority)
    assert "finish: the former authorities are not trusted any more" in playbooks.run(
        "rotate-ca.yml"
    )
    assert machines.run("n1", authority) != before
    assert {name: machines.run(name, PIDS) for name in NODES} == was


def test_a_node_is_removed(playbooks: Playbooks) -> None:
    refused = playbooks.run("remove-node.yml", check=False)
    assert "say which nodes are to be removed: --limit NAME" in refused
    playbooks.run("remove-node.yml", "--limit", "n3", "-e", "wherry_purge=true")
    assert list(versions(playbooks.machines)) == ["m1", "n1", "n2"]
    left = playbooks.machines.run("n3", "ls -d /opt/wherry /etc/wherry", check=False)
    assert left.count("No such file") == 2
    again = playbooks.run("remove-node.yml", "--limit", "n3")
    assert changed(again) == {"n3": 0}


def test_an_uninstall_leaves_nothing(
    playbooks: Playbooks, said: str, before: dict[str, set[str]]
) -> None:
    assert said
    gone = playbooks.run("uninstall.yml", "-e", "wherry_purge=true")
    assert all(changed(gone)[name] > 0 for name in ("m1", "n1", "n2"))
    for name in NAMES:
        playbooks.machines.run(name, "podman rmi --all --force", check=False)
        assert traces(playbooks.machines, name) ^ before[name] == set()
    again = playbooks.run("uninstall.yml", "-e", "wherry_purge=true")
    assert changed(again) == all_of(0)
