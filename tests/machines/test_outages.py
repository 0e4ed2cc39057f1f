"""Services restart, machines reboot and lose their power: what comes back, and who notices.

Calls from outside go through the node port of each node all the while; which of them fail is
counted and explained. `pytest -m full -rP tests/machines/test_outages.py` prints the counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.machines import NAMES, Machines
from tests.machines.tools.ansible import Playbooks
from tests.machines.tools.caller import Called, calling
from tests.machines.tools.hello import PIDS, deploy_hello, is_whole, until

pytestmark = [pytest.mark.machines, pytest.mark.full, pytest.mark.timeout(900)]

NODES = ("n1", "n2", "n3")
UNITS = {"m1": ("wherry-master",)} | dict.fromkeys(
    NODES, ("wherry-kubelet", "wherry-kube-proxy", "podman")
)
BACK_SECONDS = 120
SPREAD_SECONDS = 1.0
"""From a master that knows of a lost node to every kube-proxy that does."""


@pytest.fixture(scope="module")
def urls(
    machines: Machines, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Where hello, which runs on three nodes, is called through each of them."""
    machines.run("m1", "systemctl disable --now etcd.service")
    playbooks = Playbooks(machines, bundle, tmp_path_factory.mktemp("ansible"))
    try:
        playbooks.run("site.yml")
        port = deploy_hello(machines, *NODES)
        until(lambda: is_back(machines), "three nodes with hello")
        yield {name: f"http://10.97.7.1{number}:{port}/" for number, name in enumerate(NODES, 1)}
    finally:
        playbooks.run("uninstall.yml", "-e", "wherry_purge=true", check=False)
        machines.run("m1", "systemctl enable --now etcd.service")


def ready_nodes(machines: Machines) -> set[str]:
    """The nodes that are Ready, as far as the master answers."""
    lines = machines.run("m1", "wherry get nodes", check=False).splitlines()
    return {line.split()[0] for line in lines if line.split()[1:2] == ["Ready"]}


def is_back(machines: Machines) -> bool:
    """Whether all nodes are Ready and hello is whole."""
    return ready_nodes(machines) == set(NODES) and is_whole(machines)


def containers(machines: Machines, names: tuple[str, ...]) -> set[tuple[str, str]]:
    """(machine, name and pid) of each container that runs."""
    return {(name, line) for name in names for line in machines.run(name, PIDS).splitlines()}


def answers(machines: Machines, url: str) -> bool:
    """Whether hello answers a call from outside."""
    said = machines.inside("bash", "-c", f"curl --silent --max-time 2 {url} || true")
    return "hello" in said


def reported(what: str, called: dict[str, Called], start: float) -> None:
    """Print the counts."""
    for url, each in called.items():
        line = f"{what}, calls of {url}: {each.calls}, failed: {len(each.failed)}"
        if each.failed:
            first, last = (each.failed[place][0] - start for place in (0, -1))
            line += f", {first:.1f} to {last:.1f} s after it began: {each.failed[0][1]}"
        print(line)


@pytest.mark.parametrize("name", NAMES)
def test_a_restart_of_any_unit_fails_no_call(
    machines: Machines, urls: dict[str, str], name: str
) -> None:
    was = containers(machines, NODES)
    start = time.monotonic()
    with calling(machines, *urls.values()) as called:
        for unit in UNITS[name]:
            machines.run(name, f"systemctl restart {unit}")
            until(lambda: is_back(machines), f"all after a restart of {unit}")
    reported(f"restart of {', '.join(UNITS[name])} of {name}", called, start)
    assert not [each for each in called.values() if each.failed]
    assert containers(machines, NODES) == was


@pytest.mark.parametrize("name", NAMES)
def test_a_reboot_fails_calls_of_that_machine_alone(
    machines: Machines, urls: dict[str, str], name: str
) -> None:
    others = tuple(each for each in NODES if each != name)
    was = containers(machines, others)
    start = time.monotonic()
    with calling(machines, *urls.values()) as called:
        machines.reboot(name)
        until(lambda: is_back(machines), f"all after a reboot of {name}", seconds=BACK_SECONDS)
        until(lambda: all(answers(machines, url) for url in urls.values()), "every node answers")
    reported(f"reboot of {name}", called, start)
    assert not [each for each in others if called[urls[each]].failed]
    assert was <= containers(machines, others)


def test_a_power_cut_of_the_master_fails_no_call(machines: Machines, urls: dict[str, str]) -> None:
    was = containers(machines, NODES)
    start = time.monotonic()
    with calling(machines, *urls.values()) as called:
        machines.off("m1")
        machines.on("m1")
        until(lambda: is_back(machines), "all after a power cut of m1", seconds=BACK_SECONDS)
    reported("power cut of m1", called, start)
    assert not [each for each in called.values() if each.failed]
    assert containers(machines, NODES) == was


def test_a_power_cut_of_a_node_fails_calls_until_it_is_missed(
    machines: Machines, urls: dict[str, str]
) -> None:
    """Those that a kube-proxy leads to the pod that is gone; and all that go to the machine."""
    others = ("n1", "n3")
    was = containers(machines, others)
    start = time.monotonic()
    with calling(machines, *urls.values()) as called:
        machines.off("n2")
        until(lambda: "n2" not in ready_nodes(machines), "the loss is noticed")
        missed = time.monotonic()
        until(lambda: is_whole(machines), "hello is whole without n2")
        machines.on("n2")
        until(lambda: is_back(machines), "all after a power cut of n2", seconds=BACK_SECONDS)
        until(lambda: answers(machines, urls["n2"]), "n2 answers")
    reported("power cut of n2", called, start)
    for each in others:
        late = [at for at, _ in called[urls[each]].failed if at > missed + SPREAD_SECONDS]
        assert not late
    assert was <= containers(machines, others)
