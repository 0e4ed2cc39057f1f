"""A machine's whole life: installed, installed again, updated, removed, and as it was before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.machine import __main__ as program
from deploy.machine import ledger as ledgers
from deploy.machine import observe, versions, wanted
from deploy.machine.plan import plan
from deploy.machine.steps import StepFailed
from tests.fakes.machine import FakeMachine

URL = "https://10.0.0.1:6443"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """A machine with Debian's Podman and etcd, on which nobody is known."""
    for place in ("etc/systemd/system", "usr/local/bin", "opt", "var/lib", "run"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setattr(observe, "leftovers", lambda executor: observe.Leftovers())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    made = FakeMachine(tmp_path, etcd="enabled", podman="static")
    made.enabled["podman.socket"] = "disabled"
    monkeypatch.setattr(observe, "_has_user", lambda name: name in made.users)
    return made


def tree(machine: FakeMachine) -> dict[str, str]:
    """Every file, link and directory."""
    return {
        str(path.relative_to(machine.root)): str(path.readlink())
        if path.is_symlink()
        else path.read_text()
        if path.is_file()
        else ""
        for path in machine.root.rglob("*")
    }


def install(machine: FakeMachine, role: str, version: str = "1", token: str = "") -> list[str]:
    """What an install says, after deploy/install has made the environment of a version."""
    said: list[str] = []
    file = machine.place(ledgers.FILE)
    ledger = ledgers.load(file).beginning(role, observe.before(machine, ("nftables",)))
    ledgers.save(file, ledger)
    place = f"/opt/wherry/{version}"
    machine.place(f"{place}/bin").mkdir(parents=True, exist_ok=True)
    is_master = role == "master"
    want = wanted.master(place, "10.0.0.1") if is_master else wanted.node(place, URL)
    made = plan(want, observe.found(machine, ledger, want), ledger)
    program.carry_out(machine, made, token, said.append)
    return said


@pytest.mark.parametrize("roles", [("master",), ("node",), ("master", "node")])
def test_after_a_purge_a_machine_is_as_before(machine: FakeMachine, roles: tuple[str, ...]) -> None:
    files, units = tree(machine), dict(machine.enabled)
    for role in roles:
        install(machine, role)
        machine.place(f"/var/lib/wherry/{role}").mkdir(parents=True)
    assert tree(machine) != files
    for role in roles:
        assert install(machine, role) == []
    program.remove(machine, purge=False)
    for role in roles:
        assert machine.place(f"/var/lib/wherry/{role}").is_dir()
    program.remove(machine, purge=True)
    assert tree(machine) == files
    assert {unit: machine.enabled[unit] for unit in units} == units
    assert (machine.active, machine.users) == (set(), set())


def test_the_token_is_roots_alone(machine: FakeMachine) -> None:
    said = install(machine, "node", token="secret")
    file = machine.place(wanted.TOKEN_FILE)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("secret", 0o600)
    assert "secret" not in "".join((*said, *machine.told))
    assert "secret" not in machine.place(ledgers.FILE).read_text()


def test_an_update_switches_the_link_and_restarts(machine: FakeMachine) -> None:
    install(machine, "master")
    machine.told.clear()
    said = install(machine, "master", "2")
    assert said[0] == "linking /opt/wherry/current to /opt/wherry/2"
    assert machine.told == ["systemctl --no-block restart wherry-master.service"]


def test_former_versions_go_but_for_the_last_and_what_is_used(machine: FakeMachine) -> None:
    for version in ("1", "2", "3", "linked", "runs", "called"):
        machine.place(f"/opt/wherry/{version}/lib").mkdir(parents=True)
    install(machine, "node", "4")
    install(machine, "node", "5")
    machine.place("/usr/local/bin/other").symlink_to("/opt/wherry/linked/bin/wherry")
    for pid, name, said in (
        ("7", "maps", "7f00-7f01 r-xp 00000000 08:01 1 /opt/wherry/runs/lib/x.so\n"),
        ("8", "cmdline", "/usr/bin/python3\0/opt/wherry/called/bin/wherry\0watch\0"),
    ):
        machine.place(f"/proc/{pid}").mkdir(parents=True)
        machine.place(f"/proc/{pid}/{name}").write_text(said)
    told: list[str] = []
    versions.remove_former(machine, ("/opt/wherry/4", "/opt/wherry/5"), told.append)
    left = {path.name for path in machine.place("/opt/wherry").iterdir()}
    assert left == {"4", "5", "current", "linked", "runs", "called"}
    assert told == [
        f"removing /opt/wherry/{version}: neither this version nor the one before"
        for version in ("1", "2", "3")
    ]


def test_an_install_that_failed_halfway_is_undone(machine: FakeMachine) -> None:
    files, units = tree(machine), dict(machine.enabled)
    machine.refused = "systemctl daemon-reload"
    with pytest.raises(StepFailed, match="refused"):
        install(machine, "master")
    machine.refused = ""
    program.remove(machine, purge=True)
    assert tree(machine) == files
    assert {unit: machine.enabled[unit] for unit in units} == units


def test_what_cannot_be_undone_is_named_and_the_rest_done(machine: FakeMachine) -> None:
    install(machine, "node")
    machine.refused = "systemctl stop podman.socket"
    with pytest.raises(StepFailed, match=r"something is left:\nsystemctl stop podman\.socket"):
        program.remove(machine, purge=True)
    assert not machine.place("/opt/wherry").exists()
    assert machine.place(ledgers.FILE).exists(), "so that it can be tried again"
    machine.refused = ""
    program.remove(machine, purge=True)
    assert not machine.place(ledgers.FILE).exists()


def test_where_nothing_is_installed_nothing_is_removed(machine: FakeMachine) -> None:
    with pytest.raises(program.Refused, match="nothing is installed here"):
        program.remove(machine, purge=True)
