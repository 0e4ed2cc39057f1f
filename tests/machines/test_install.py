"""deploy/install and deploy/uninstall where systemd runs: m1 as the master, n1 and n3 as nodes."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.hostile.canaries import Canaries, watching_processes
from tests.machines.machines import TRACES, Machines

pytestmark = [pytest.mark.machines, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
URL = "https://10.97.7.10:6443"
NODES = ("n1", "n3")
CHECKOUT = "/root/wherry"
INSTALL = f"{CHECKOUT}/deploy/install"
WHEELS = "--wheelhouse /root/wheelhouse"
JOIN = f"{INSTALL} node --server {URL} --token-file /root/token {WHEELS}"
UNITS = {
    "m1": ("wherry-master",),
    "n1": ("wherry-kubelet", "wherry-kube-proxy"),
    "n3": ("wherry-kubelet", "wherry-kube-proxy"),
}
EXPOSURE_MAX = {"wherry-master": 1.5, "wherry-kube-proxy": 2.0, "wherry-kubelet": 6.0}
ADDRESSES = ("10.97.7.13", "10.97.7.33")
"""Of n3, and another one that it gets."""
AWAY_SECONDS = 60
REBOOT_SECONDS = 45
"""Down in 15 s, and up again."""
DEMO = f"""
cd {CHECKOUT}; source deploy/lib/common.sh; source deploy/lib/image.sh
image_tree /root/demo
tar -C /root/demo/root -c . | podman import -q -c 'CMD ["/bin/serve"]' \
    -c 'ENV PATH=/bin' -c 'ENV PORT=8080' - {{}} > /dev/null
podman run -d --name theirs --network none {{}} sleep 10000 > /dev/null
""".format("localhost/wherry-demo", "localhost/wherry-demo")


@pytest.fixture(scope="module")
def before(machines: Machines, wheelhouse: Path) -> Iterator[dict[str, str]]:
    """The checkout and its wheels are on the machines; what these are like before an install."""
    files = subprocess.check_output(
        ["git", "ls-files", "-z", "deploy", "common", "setup.cfg"], cwd=ROOT
    )
    archive = wheelhouse / "checkout.tar"
    subprocess.run(["tar", "--null", "-T", "-", "-cf", archive], cwd=ROOT, input=files, check=True)
    for name in UNITS:
        machines.put(name, archive, "/root/checkout.tar")
        machines.put(name, wheelhouse, "/root/wheelhouse")
        machines.run(name, f"mkdir {CHECKOUT} && tar -C {CHECKOUT} -xf /root/checkout.tar")
    for name in NODES:
        machines.run(name, DEMO)
    machines.run("m1", "systemctl disable --now etcd.service")
    yield {name: machines.run(name, TRACES, check=False) for name in UNITS}
    machines.run("m1", "systemctl enable --now etcd.service")


@dataclass
class Told:
    """The tokens that nodes have joined by, and what has told them."""

    tokens: dict[str, str] = field(default_factory=dict)
    processes: dict[str, list[str]] = field(default_factory=dict)
    said: str = ""


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def installed(machines: Machines, before: dict[str, str], told: Told) -> Iterator[Machines]:
    """A master and two nodes, as the installer has made them."""
    assert before
    said = machines.run("m1", f"{INSTALL} master {WHEELS}", timeout_seconds=300)
    assert f"The master serves {URL}" in said
    canaries = Canaries()
    with watching_processes(canaries) as told.processes:
        for name in NODES:
            told.tokens[name] = token = machines.run("m1", "wherry token create --uses 1")
            canaries.add(f"token of {name}", secret_of(token).encode())
            machines.run(name, "umask 077; cat > /root/token", input=token)
            said = machines.run(name, JOIN, timeout_seconds=300)
            assert "The node is Ready" in said
            told.said += said
    yield machines


def secret_of(token: str) -> str:
    """The part of a token that nobody else may know."""
    return token.strip().rpartition(".")[2]


def api(machines: Machines, path: str) -> dict[str, object]:
    """What the API server answers, asked on the master."""
    token = "$(cat /var/lib/wherry/master/admin.token)"
    call = f'curl -sk -H "Authorization: Bearer {token}" {URL}{path}'
    found = json.loads(machines.run("m1", call))
    assert isinstance(found, dict)
    return found


def pids(machines: Machines, name: str) -> str:
    """The first processes of all containers of a machine."""
    listed = machines.run(name, "podman ps --format '{{.Names}} {{.Pid}}' | sort")
    assert "wherry-" in listed
    assert "theirs" in listed
    return listed


def test_an_etcd_that_runs_is_named_and_nothing_is_installed(
    machines: Machines, before: dict[str, str]
) -> None:
    machines.run("m1", "systemctl start etcd.service")
    try:
        said = machines.run("m1", f"{INSTALL} master {WHEELS}", check=False)
    finally:
        machines.run("m1", "systemctl stop etcd.service")
    assert "port 2379 is taken by etcd (etcd.service): systemctl disable --now etcd.service" in said
    assert machines.run("m1", TRACES, check=False) == before["m1"]


def test_several_addresses_without_a_default_route_are_named(
    machines: Machines, before: dict[str, str]
) -> None:
    """With one address, there would be nothing to choose."""
    assert before
    route = machines.run("m1", "ip route show default").strip()
    machines.run("m1", "ip route del default; ip address add 10.99.0.1/24 dev eth0")
    try:
        said = machines.run("m1", f"{INSTALL} master {WHEELS}", check=False)
    finally:
        machines.run("m1", f"ip address del 10.99.0.1/24 dev eth0; ip route add {route}")
    assert "set advertise-address in /etc/wherry/config.yaml to one of 10.97.7.10 (eth0), " in said


def test_pods_run_and_a_service_leads_to_them(installed: Machines) -> None:
    hello = (ROOT / "deploy/examples/hello.yaml").read_text()
    installed.run("m1", "wherry apply -f -", input=hello)
    wait_for(installed, "hello", lambda: ready(installed))
    service = api(installed, "/api/v1/namespaces/default/services/hello")
    address = service["spec"]["clusterIP"]  # type: ignore[index]
    answers = {installed.run("n1", f"curl -s --max-time 5 http://{address}/") for _ in range(20)}
    assert len(answers) == 3


def test_no_token_is_an_argument_or_left_behind(installed: Machines, told: Told) -> None:
    """Nobody but root on the node could have read it, and only where its user has put it."""
    assert told.processes == {}
    for name, token in told.tokens.items():
        secret = secret_of(token)
        assert secret not in told.said
        places = "/etc /root /run /tmp /var/log /var/lib/wherry"
        look = f"grep -rlsF -D skip -f - {places}; journalctl --no-pager -o cat | grep -cF -f -"
        found = "".join(
            installed.run(name, command, input=f"{secret}\n", check=False)
            for command in look.split("; ")
        )
        assert found.split() == ["/root/token", "0"]
        on_disk = "find /var/lib/wherry /etc/wherry -xdev -type f -perm /077 | sort"
        keys = installed.run(name, on_disk)  # the tokens of pods are in volumes of their own
        assert "pki" not in keys
        assert "token" not in keys
    keys = installed.run("m1", "find /var/lib/wherry/master -type f -perm /077")
    assert keys == ""


@pytest.mark.parametrize("name", UNITS)
def test_units_are_fenced_in(installed: Machines, name: str) -> None:
    for unit in UNITS[name]:
        said = installed.run(name, f"systemd-analyze security --no-pager {unit} | tail -n 1")
        found = re.search(r"exposure level for \S+: ([0-9.]+)", said)
        assert found, said
        assert float(found[1]) <= EXPOSURE_MAX[unit]


@pytest.mark.parametrize("name", UNITS)
def test_a_second_run_changes_nothing(installed: Machines, name: str) -> None:
    traces = f"{TRACES}find /etc /opt /var/lib/wherry/install.json -xdev -printf '%p %T@\\n' | sort"
    traces += f"\nsystemctl show --property MainPID {' '.join(UNITS[name])}"
    was = installed.run(name, traces, check=False)
    said = installed.run(name, f"{INSTALL} master {WHEELS}" if name == "m1" else JOIN)
    assert len(said.splitlines()) <= 7, said
    assert installed.run(name, traces, check=False) == was


@pytest.mark.parametrize("name", NODES)
def test_a_restart_of_any_unit_restarts_no_container(installed: Machines, name: str) -> None:
    was = pids(installed, name)
    installed.run(name, f"systemctl restart podman.service {' '.join(UNITS[name])}")
    installed.run("m1", "systemctl restart wherry-master")
    installed.run(name, JOIN)
    assert pids(installed, name) == was


def test_the_token_is_not_kept(installed: Machines) -> None:
    for name in NODES:
        assert installed.run(name, "ls /etc/wherry").split() == ["kube-proxy.yaml", "kubelet.yaml"]


def ready(machines: Machines) -> bool:
    """Whether all three pods of hello are, on nodes that are."""
    deployment = api(machines, "/apis/apps/v1/namespaces/default/deployments/hello")
    return deployment["status"].get("readyReplicas") == 3  # type: ignore[attr-defined]


def test_a_machine_that_reboots_ends_its_pods_and_comes_back_by_itself(
    installed: Machines,
) -> None:
    """Its pods ignore TERM, for which systemd alone would wait 90 s. So does a foreign container,
    which has all of them: it is stopped before.
    """
    installed.run("n1", "podman stop --time 0 theirs")
    start = time.monotonic()
    installed.reboot("n1")
    took = time.monotonic() - start
    said = installed.run("n1", "journalctl --boot -1 --no-pager -o short-precise")
    assert took < REBOOT_SECONDS, said[-10_000:]
    assert "the machine goes down: pods are stopped" in said
    wait_for(installed, "the pods of a node that was rebooted", lambda: ready(installed))
    installed.run("n1", "podman start theirs")


def test_power_cuts_of_a_node_and_of_the_master_leave_nothing_undone(installed: Machines) -> None:
    for name in ("n3", "m1"):
        installed.off(name)
        installed.on(name)
        wait_for(installed, f"hello after a power cut of {name}", lambda: ready(installed))
    for name in UNITS:
        active = installed.run(name, f"systemctl is-active {' '.join(UNITS[name])}")
        assert active.split() == ["active"] * len(UNITS[name])
    installed.run("n3", "podman start theirs")


def wait_for(machines: Machines, what: str, condition: Callable[[], bool]) -> None:
    """Until it is so; a master that is away answers nothing."""
    deadline = time.monotonic() + 90
    while True:
        try:
            if condition():
                return
        except (AssertionError, KeyError, ValueError):
            pass
        if time.monotonic() > deadline:
            pods = machines.run("m1", "wherry get pods -A -o wide; wherry get nodes", check=False)
            pytest.fail(f"{what}: not in time\n{pods}")
        time.sleep(0.5)


def journal(machines: Machines, name: str, unit: str) -> str:
    """What a unit has logged since the machine has booted."""
    return machines.run(name, f"journalctl --boot --no-pager -o cat -u {unit}")


def node_ready(machines: Machines, name: str) -> bool:
    """Whether a Node is."""
    node = api(machines, f"/api/v1/nodes/{name}")
    found = node["status"]["conditions"]  # type: ignore[index]
    return any((one["type"], one["status"]) == ("Ready", "True") for one in found)


def test_all_certificates_are_named_with_their_end(installed: Machines) -> None:
    said = installed.run("m1", "wherry certs")
    for name in ("master", "etcd", "node n1", "node n3", "this kubeconfig"):
        [line] = [one for one in said.splitlines() if one.startswith(f"{name} ")]
        assert line.endswith("renewed by itself")
    for name in ("servers", "clients"):
        [line] = [one for one in said.splitlines() if one.startswith(f"authority of {name} ")]
        assert line.endswith("wherry ca rotate")


def test_a_revoked_node_comes_back_by_a_new_token_with_its_pods(installed: Machines) -> None:
    was = pids(installed, "n1")
    installed.run("m1", "wherry node revoke n1")
    wait_for(
        installed,
        "the word of a node that is refused",
        lambda: "this node needs a new join token" in journal(installed, "n1", "wherry-kubelet"),
    )
    token = installed.run("m1", "wherry token create --uses 1")
    installed.run("n1", "umask 077; cat > /etc/wherry/join.token", input=token)
    wait_for(
        installed,
        "a new certificate",
        lambda: "a new certificate" in journal(installed, "n1", "wherry-kubelet"),
    )
    installed.run("n1", "rm /etc/wherry/join.token")
    wait_for(installed, "hello again", lambda: node_ready(installed, "n1") and ready(installed))
    assert pids(installed, "n1") == was


def test_authorities_are_replaced_and_no_container_restarts(installed: Machines) -> None:
    was = {name: pids(installed, name) for name in NODES}
    said = installed.run("m1", "wherry ca rotate")
    assert "done; " in said
    assert {name: pids(installed, name) for name in NODES} == was
    units = " ".join(UNITS["n1"])
    installed.run("n1", f"systemctl restart {units}")
    wait_for(installed, "hello again", lambda: node_ready(installed, "n1") and ready(installed))
    wait_for(
        installed,
        "kube-proxy with its new certificate",
        lambda: "default/hello" in installed.run("n1", "wherry proxy table"),
    )
    assert {name: pids(installed, name) for name in NODES} == was


def test_a_log_level_is_changed_while_a_service_runs(installed: Machines) -> None:
    pid = "systemctl show --property MainPID wherry-master"
    was = installed.run("m1", pid)
    assert "logs debug and above" in installed.run("m1", "wherry log-level master debug")
    installed.run("m1", "wherry get nodes; kill -0 1")
    api(installed, "/api/v1/nodes/n1")
    wait_for(
        installed,
        "an answer in the log",
        lambda: "answered" in journal(installed, "m1", "wherry-master"),
    )
    installed.run("m1", "wherry log-level master info")
    assert installed.run("m1", pid) == was


@pytest.mark.full
def test_a_node_whose_address_changes_stays_a_member(installed: Machines) -> None:
    """It has its old one again after a while: until then nobody reaches it by that."""
    was = pids(installed, "n3")
    assert address_of(installed, "n3") == ADDRESSES[0]
    old, new = (f"ip address {{}} {address}/24 dev eth0" for address in ADDRESSES)
    there = f"{old.format('del')}; {new.format('add')}"  # the first of a network takes others along
    back = f"{new.format('del')}; {old.format('add')}"
    gateway = f"ip route replace {installed.run('n3', 'ip route show default').strip()}"
    later = "systemd-run --collect --on-active"
    installed.run("n3", f"{later}={AWAY_SECONDS} bash -c '{back}; {gateway}'")
    installed.run("n3", f"{later}=1 bash -c '{there}; {gateway}'")
    for address in reversed(ADDRESSES):
        wait_for(
            installed,
            f"node n3 at {address}",
            lambda address=address: (
                address_of(installed, "n3") == address  # type: ignore[misc]
                and node_ready(installed, "n3")
                and ready(installed)
            ),
        )
    assert pids(installed, "n3") == was


def address_of(machines: Machines, name: str) -> str:
    """The address of a Node, as it is known."""
    node = api(machines, f"/api/v1/nodes/{name}")
    [found] = [
        one["address"]
        for one in node["status"]["addresses"]  # type: ignore[index]
        if one["type"] == "InternalIP"
    ]
    return str(found)


def test_a_wrong_configuration_is_told_and_not_tried_for_ever(installed: Machines) -> None:
    """And the admin's file is kept, whatever is in it."""
    file = "/etc/wherry/kube-proxy.yaml"
    installed.run("n1", f"cp {file} /root/good; echo 'no-such-key: 1' >> {file}")
    installed.run("n1", "systemctl restart wherry-kube-proxy", check=False)
    show = "systemctl show --property ActiveState,ExecMainStatus,NRestarts wherry-kube-proxy"
    assert {"ActiveState=failed", "ExecMainStatus=78"} < set(installed.run("n1", show).split())
    said = installed.run("n1", JOIN, check=False)
    assert f"kept {file} as it is" in said
    assert f"{file}:4: no-such-key: unknown key" in said
    installed.run("n1", f"cp /root/good {file}")
    installed.run("n1", JOIN)


def test_uninstall_leaves_nothing_and_touches_nobody_else(
    installed: Machines, before: dict[str, str]
) -> None:
    theirs = "podman inspect --format '{{.State.Pid}}' theirs"
    was = {name: installed.run(name, theirs) for name in NODES}
    for name in NODES:
        said = installed.run(name, f"{CHECKOUT}/deploy/uninstall")
        assert "gone: no unit, process, container, mount" in said
        assert "kept: /var/lib/wherry/node, /var/log/pods (--purge deletes it)" in said
        assert installed.run(name, "podman ps --all --format '{{.Names}}'") == "theirs\n"
        assert installed.run(name, theirs) == was[name]
    assert "gone: " in installed.run("m1", "wherry-uninstall --purge")
    for name in NODES:
        installed.run(name, f"{CHECKOUT}/deploy/uninstall --purge")
    for name in UNITS:
        assert installed.run(name, TRACES, check=False) == before[name]
        assert (
            installed.run(
                name, "ls -d /var/lib/wherry /var/log/pods /run/wherry", check=False
            ).count("No such")
            == 3
        )
