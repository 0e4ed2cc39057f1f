"""An install does what is missing, once, and leaves alone what is somebody else's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deploy.machine import ledger as ledgers
from deploy.machine import undo, wanted
from deploy.machine.ledger import Before, Ledger, LedgerError
from deploy.machine.observe import Found, Leftovers, UnitState
from deploy.machine.plan import Plan, plan, settled
from deploy.machine.steps import Link, Make, Remove, Run, Write
from deploy.machine.wanted import CURRENT, SYSTEMD, TOKEN_FILE, Wanted

MASTER = wanted.master("/opt/wherry/1", "10.0.0.1")
NODE = wanted.node("/opt/wherry/1", "https://10.0.0.1:6443")
KUBELET_FILE = "/etc/wherry/kubelet.yaml"
RUNNING = UnitState("loaded", "active", "enabled")
RESTING = UnitState("loaded", "inactive", "enabled")
OFF = UnitState("loaded", "inactive", "disabled")


def begun(role: str) -> Ledger:
    """The ledger of a machine that nothing was installed on, with etcd brought by an install."""
    before = Before(units={"etcd.service": "inactive/absent"}, ip_forward="0")
    return Ledger().beginning(role, before)


def commands(made: Plan) -> list[str]:
    """The programs that a plan runs."""
    return [" ".join(step.command) for step in made.steps if isinstance(step, Run)]


def after(want: Wanted, made: Plan) -> tuple[Found, Ledger]:
    """What is found, and the ledger, once a plan was carried out."""
    found = Found(
        checksums={file.path: file.checksum for file in want.files},
        links=want.links,
        paths=frozenset({*want.directories, *want.links, *(f.path for f in want.files)}),
        users=frozenset(want.users),
        units=dict.fromkeys((*want.units, *want.needed), RUNNING),
    )
    return found, settled(made.ledger)


def test_a_bare_machine_becomes_a_master() -> None:
    made = plan(MASTER, Found(units={"etcd.service": RESTING}), begun("master"))
    kinds = [type(step) for step in made.steps]
    assert kinds[:2] == [Run, Make], "the user is there before the directory"
    assert commands(made) == [
        "useradd --system --no-create-home --home-dir /nonexistent "
        "--shell /usr/sbin/nologin wherry",
        "systemctl mask etcd.service",
        "systemctl daemon-reload",
        "systemctl enable wherry-master.service",
        "systemctl --no-block start wherry-master.service",
    ]
    assert {s.path for s in made.steps if isinstance(s, Write)} == {f.path for f in MASTER.files}
    assert {s.path for s in made.steps if isinstance(s, Link)} == set(MASTER.links)
    assert made.ledger.masked == ("etcd.service",)
    assert made.ledger.users == ("wherry",)


ETCD = wanted.Etcd(
    endpoints=("https://10.0.0.8:2379", "https://10.0.0.9:2379"),
    pems={"etcd-cacert": "CA", "etcd-cert": "CERTIFICATE", "etcd-key": "KEY"},
    prefix="/b",
)


def test_a_master_of_another_etcd_gets_its_files_and_leaves_that_etcd_alone() -> None:
    want = wanted.master("/opt/wherry/1", "10.0.0.1", ETCD)
    made = plan(want, Found(units={"etcd.service": RESTING}), begun("master"))
    assert not any("etcd.service" in command for command in commands(made))
    written = {step.path: step for step in made.steps if isinstance(step, Write)}
    key = written["/etc/wherry/etcd/client.key"]
    assert (key.content, key.mode, key.group) == ("KEY", 0o640, "wherry")
    assert "KEY" not in repr(made)
    assert yaml.safe_load(written["/etc/wherry/config.yaml"].content) == {
        "advertise-address": "10.0.0.1",
        "etcd-endpoints": ["https://10.0.0.8:2379", "https://10.0.0.9:2379"],
        "etcd-cacert": "/etc/wherry/etcd/ca.crt",
        "etcd-cert": "/etc/wherry/etcd/client.crt",
        "etcd-key": "/etc/wherry/etcd/client.key",
        "etcd-prefix": "/b",
    }
    found, ledger = after(want, made)
    assert plan(want, found, ledger).steps == ()


def test_a_new_certificate_for_etcd_restarts_the_master() -> None:
    want = wanted.master("/opt/wherry/1", "10.0.0.1", ETCD)
    found, ledger = after(want, plan(want, Found(), begun("master")))
    renewed = replace(ETCD, pems={**ETCD.pems, "etcd-cert": "NEWER"})
    made = plan(wanted.master("/opt/wherry/1", "10.0.0.1", renewed), found, ledger)
    assert [step.what for step in made.steps] == [
        "writing /etc/wherry/etcd/client.crt",
        "restarting wherry-master.service",
    ]


def test_the_directory_of_etcds_files_goes_before_the_one_it_is_in() -> None:
    want = wanted.master("/opt/wherry/1", "10.0.0.1", ETCD)
    found, ledger = after(want, plan(want, Found(), begun("master")))
    found = replace(found, paths=found.paths | set(ledger.directories))
    steps = undo.removing(ledger, found, Leftovers(), purge=False)
    removed = [step.path for step in steps if isinstance(step, Remove)]
    assert "/etc/wherry/etcd/client.key" in removed
    assert removed.index("/etc/wherry/etcd") < removed.index("/etc/wherry")


def test_a_bare_machine_becomes_a_node() -> None:
    made = plan(NODE, Found(units={"podman.socket": OFF}), begun("node"))
    assert commands(made) == [
        "systemctl daemon-reload",
        "systemctl try-restart podman.service",
        "systemctl enable podman.socket",
        "systemctl start podman.socket",
        "systemctl enable wherry-kubelet.service",
        "systemctl --no-block start wherry-kubelet.service",
        "systemctl enable wherry-kube-proxy.service",
        "systemctl --no-block start wherry-kube-proxy.service",
    ]
    assert (made.ledger.enabled, made.ledger.started) == (("podman.socket",),) * 2


@pytest.mark.parametrize("want", [MASTER, NODE], ids=["master", "node"])
def test_a_second_run_changes_nothing(want: Wanted) -> None:
    found, ledger = after(want, plan(want, Found(), begun(want.role)))
    again = plan(want, found, ledger)
    assert (again.steps, again.kept) == ((), ())
    assert settled(again.ledger) == ledger


def test_what_has_failed_is_started_again() -> None:
    """And is not taken for failed by who waits for it."""
    found, ledger = after(MASTER, plan(MASTER, Found(), begun("master")))
    failed = UnitState("loaded", "failed", "enabled", "", "78")
    made = plan(MASTER, replace(found, units={"wherry-master.service": failed}), ledger)
    assert commands(made) == [
        "systemctl reset-failed wherry-master.service",
        "systemctl --no-block start wherry-master.service",
    ]


def test_what_runs_of_others_is_left_alone() -> None:
    for state in (RUNNING, OFF):
        made = plan(MASTER, Found(units={"etcd.service": state}), begun("master"))
        assert made.ledger.masked == ()
    made = plan(NODE, Found(units={"podman.socket": RUNNING}), begun("node"))
    assert (made.ledger.enabled, made.ledger.started) == ((), ())


def test_another_version_restarts_all_that_runs_from_it() -> None:
    found, ledger = after(NODE, plan(NODE, Found(), begun("node")))
    ledger = replace(ledger, units=(*ledger.units, *wanted.MASTER_UNITS))
    made = plan(wanted.node("/opt/wherry/2", "https://10.0.0.1:6443"), found, ledger)
    assert made.steps[0] == Link(CURRENT, "/opt/wherry/2")
    assert commands(made) == [
        "systemctl --no-block try-restart wherry-master.service",
        "systemctl --no-block restart wherry-kubelet.service",
        "systemctl --no-block restart wherry-kube-proxy.service",
    ]


def test_another_server_is_written_and_the_node_restarted() -> None:
    found, ledger = after(NODE, plan(NODE, Found(), begun("node")))
    made = plan(wanted.node("/opt/wherry/1", "https://10.0.0.2:6443"), found, ledger)
    assert [s.path for s in made.steps if isinstance(s, Write)] == [
        KUBELET_FILE,
        "/etc/wherry/kube-proxy.yaml",
    ]
    assert len(commands(made)) == 2


@pytest.mark.parametrize("known", [True, False])
def test_what_an_admin_has_written_is_kept(known: bool) -> None:
    """Whether the file was there before any install, or was changed since."""
    found, ledger = after(NODE, plan(NODE, Found(), begun("node")))
    if not known:
        ledger = begun("node")
    found = replace(found, checksums={**found.checksums, KUBELET_FILE: "an admin's"})
    made = plan(NODE, found, ledger)
    assert made.kept == (KUBELET_FILE,)
    assert made.steps == ()
    assert (KUBELET_FILE in made.ledger.files) == known


def test_a_program_of_the_same_name_is_kept() -> None:
    path = "/usr/local/bin/wherry"
    made = plan(MASTER, Found(paths=frozenset({path})), begun("master"))
    assert made.kept == (path,)
    assert path not in made.ledger.links


def test_an_install_that_was_interrupted_knows_its_own_files() -> None:
    """The ledger is written first; whether a file was written after it, both are ours."""
    found, ledger = after(NODE, plan(NODE, Found(), begun("node")))
    other = wanted.node("/opt/wherry/1", "https://10.0.0.2:6443")
    interrupted = plan(other, found, ledger).ledger
    assert plan(NODE, found, interrupted).kept == ()
    assert plan(other, found, interrupted).kept == ()


def test_the_first_install_tells_what_was_before() -> None:
    ledger = begun("node").beginning("node", Before(ip_forward="1", packages_missing=("nftables",)))
    assert ledger.before.ip_forward == "0"
    assert ledger.packages == ("nftables",)
    assert ledger.beginning("master", Before()).roles == ("node", "master")


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "install.json"
    assert ledgers.load(file) == Ledger()
    made = plan(NODE, Found(), begun("node")).ledger
    ledgers.save(file, made)
    assert ledgers.load(file) == made
    written = file.stat().st_mtime_ns
    ledgers.save(file, made)
    assert file.stat().st_mtime_ns == written


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}'])
def test_a_ledger_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "install.json"
    file.write_text(text)
    with pytest.raises(LedgerError, match=r"install\.json (cannot be read|was written by another)"):
        ledgers.load(file)


# ------------------------------------------------------------------------------------- uninstall

FULL = Leftovers(
    containers=("c1", "c2"),
    mounts=("/run/wherry/sandboxes/u/net",),
    links=("wh0123456789ab",),
    routes=("10.42.1.0/24 via 10.0.0.3",),
    tables=("ip wherry-hostports", "ip wherry-network", "ip wherry-proxy"),
    ip_forward="1",
)
DATA = frozenset({"/var/lib/wherry/node", "/var/log/pods", "/run/wherry", TOKEN_FILE})


def installed() -> tuple[Found, Ledger]:
    """A node that runs, and its ledger."""
    made = plan(NODE, Found(units={"podman.socket": OFF}), begun("node"))
    found, ledger = after(NODE, made)
    return replace(found, paths=found.paths | DATA | {"/opt/wherry"}), ledger


def undone(*, purge: bool, leftovers: Leftovers = FULL, ledger: Ledger | None = None) -> list[str]:
    """What an uninstall does, as a person is told."""
    found, made = installed()
    return [s.what for s in undo.removing(ledger or made, found, leftovers, purge=purge)]


def test_units_stop_before_anything_is_removed() -> None:
    found, ledger = installed()
    stopped = [s.command for s in undo.stopping(ledger, found) if isinstance(s, Run)]
    assert [command[-1] for command in stopped] == list(reversed(wanted.NODE_UNITS))
    assert undo.stopping(ledger, Found()) == []


def test_all_that_a_node_has_made_goes_and_its_data_stay() -> None:
    assert undone(purge=False) == [
        "removing the containers of pods",
        "removing the links to pods",
        "unmounting what pods had",
        "removing the routes to pods",
        "removing the rules of ip wherry-hostports",
        "removing the rules of ip wherry-network",
        "removing the rules of ip wherry-proxy",
        "setting ip_forward to 0, as it was",
        f"removing {SYSTEMD}/wherry-kubelet.service",
        f"removing {SYSTEMD}/wherry-kube-proxy.service",
        f"removing {SYSTEMD}/podman.service.d/10-wherry.conf",
        f"removing {SYSTEMD}/podman.service.d",
        f"removing {SYSTEMD}/libpod-.scope.d/10-wherry.conf",
        f"removing {SYSTEMD}/libpod-.scope.d",
        "telling systemd of it",
        "disabling podman.socket",
        "stopping podman.socket",
        "leaving Podman's service as it was",
        f"removing {KUBELET_FILE}",
        "removing /etc/wherry/kube-proxy.yaml",
        f"removing {TOKEN_FILE}",
        "removing /run/wherry",
        "removing /etc/wherry",
        f"removing {CURRENT}",
        "removing /usr/local/bin/wherry",
        "removing /usr/local/bin/wherry-uninstall",
        "removing /opt/wherry",
    ]


def test_purge_deletes_the_data_too() -> None:
    more = set(undone(purge=True)) - set(undone(purge=False))
    assert more == {"removing /var/lib/wherry/node", "removing /var/log/pods"}


def test_what_was_there_before_stays() -> None:
    _, ledger = installed()
    before = Before(ip_forward="1", paths=("/var/log/pods", "/opt/wherry"))
    lines = undone(purge=True, ledger=replace(ledger, before=before, enabled=(), started=()))
    for kept in ("ip_forward", "/var/log/pods", "podman.socket"):
        assert not any(kept in line for line in lines), kept
    assert "removing /opt/wherry" not in lines


def test_a_changed_configuration_stays_until_purge() -> None:
    found, ledger = installed()
    found = replace(found, checksums={**found.checksums, KUBELET_FILE: "an admin's"})
    steps = undo.removing(ledger, found, Leftovers(), purge=False)
    assert Remove(KUBELET_FILE) not in steps
    assert Remove("/etc/wherry") in steps, "goes when it is empty"
    steps = undo.removing(ledger, found, Leftovers(), purge=True)
    assert Remove("/etc/wherry", whole=True) in steps
    assert (
        undo.left(ledger, Found(checksums={KUBELET_FILE: "an admin's"}), Leftovers(), purge=False)
        == []
    )


def test_etcd_is_as_it_was() -> None:
    """One that an install has brought does not come up by itself; another does, as before."""
    masked = UnitState("masked", "inactive", "masked")
    for before, expected in (("inactive/absent", 2), ("inactive/enabled", 1)):
        ledger = replace(begun("master"), masked=("etcd.service",))
        ledger = replace(ledger, before=Before(units={"etcd.service": before}))
        steps = undo.removing(
            ledger, Found(units={"etcd.service": masked}), Leftovers(), purge=False
        )
        assert sum("etcd.service" in step.what for step in steps) == expected


def test_the_proof_names_what_is_left() -> None:
    found, ledger = installed()
    left = undo.left(ledger, found, FULL, purge=True)
    for part in (
        "container c1",
        "mount /run",
        "link wh",
        "route 10.42",
        "table ip",
        "unit wherry-",
    ):
        assert any(line.startswith(part) for line in left), part
    assert {KUBELET_FILE, "/var/log/pods", "/run/wherry", CURRENT} <= set(left)
    gone = Found(paths=frozenset({"/var/lib/wherry/node"}))
    assert undo.left(ledger, gone, Leftovers(), purge=False) == []
    assert undo.left(ledger, gone, Leftovers(), purge=True) == ["/var/lib/wherry/node"]
    assert undo.kept(ledger, gone, purge=False) == ["/var/lib/wherry/node (--purge deletes it)"]


def test_after_an_uninstall_a_purge_knows_what_was_kept() -> None:
    _, ledger = installed()
    rest = undo.afterwards(ledger)
    found = Found(paths=DATA, users=frozenset({"wherry"}))
    assert undo.stopping(rest, found) == []
    lines = [s.what for s in undo.removing(rest, found, Leftovers(), purge=True)]
    assert {"removing /var/lib/wherry/node", "removing /var/log/pods"} <= set(lines)
