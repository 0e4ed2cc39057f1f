"""What is done to a machine and read of it, on a root of the test's own."""

from __future__ import annotations

import argparse
import configparser
import json
import subprocess
import sys
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path

import pytest

from deploy.machine import __main__ as program
from deploy.machine import ledger as ledgers
from deploy.machine import observe, waiting, wanted
from deploy.machine.ledger import Ledger
from deploy.machine.observe import UnitState
from deploy.machine.plan import plan
from deploy.machine.steps import Executor, Link, Make, Remove, Run, StepFailed, Write, mount_points
from node.runtime import podman_json
from tests.fakes.clock import FakeClock

ROOT = Path(__file__).resolve().parents[3]
UNITS = ROOT / "deploy" / "machine" / "units"


def unit(name: str) -> ConfigParser:
    """A unit file; of keys that are there several times, the last."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNITS / name)
    return parser


SERVICES = sorted(path.name for path in UNITS.glob("*.service"))


def test_every_unit_is_one_of_a_role() -> None:
    assert sorted((*wanted.MASTER_UNITS, *wanted.NODE_UNITS)) == SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_runs_a_program_that_there_is(name: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"]
    programs = [line.split("=")[0].strip() for line in scripts.strip().splitlines()]
    place, _, found = unit(name)["Service"]["ExecStart"].rpartition("/")
    assert place == wanted.CURRENT + "/bin"
    assert found in programs
    assert found == name.removesuffix(".service")


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_is_watched_and_comes_back_unless_its_configuration_is_wrong(name: str) -> None:
    service = unit(name)["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 30
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("always", "78")
    assert service["NoNewPrivileges"] == "yes"
    assert unit(name)["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit(name)["Install"]["WantedBy"] == "multi-user.target"


def test_the_master_has_a_user_and_no_capability() -> None:
    service = unit("wherry-master.service")["Service"]
    assert (service["User"], service["CapabilityBoundingSet"]) == (wanted.USER, "")
    assert service["StateDirectory"] == "wherry/master"
    assert service["StateDirectoryMode"] == "0700"


@pytest.mark.parametrize("name", wanted.NODE_UNITS)
def test_sandboxes_outlive_the_units_of_a_node(name: str) -> None:
    service = unit(name)["Service"]
    assert (service["RuntimeDirectory"], service["RuntimeDirectoryPreserve"]) == ("wherry", "yes")


def test_the_kubelet_shares_the_mounts_of_its_machine() -> None:
    """What systemd.exec(5) says needs a mount namespace would hide volumes from Podman."""
    service = unit("wherry-kubelet.service")["Service"]
    assert service["UMask"] == "0022"
    with_mounts = ("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProcSubset")
    kernel = (
        "ProtectKernelTunables",
        "ProtectKernelModules",
        "ProtectControlGroups",
        "ProtectProc",
    )
    assert not set(service) & {*with_mounts, *kernel, "ProtectKernelLogs", "ReadWritePaths"}


def test_steps_make_what_they_say_and_may_be_repeated(tmp_path: Path) -> None:
    executor = Executor(tmp_path)
    for _ in range(2):
        executor.do(Make("/etc/wherry"))
        executor.do(Write("/etc/wherry/join.token", "secret", 0o600))
        executor.do(Write("/etc/systemd/system/x.service.d/1.conf", "[Service]\n"))
        executor.do(Link("/opt/wherry/current", "/opt/wherry/1"))
    assert (tmp_path / "etc/wherry/join.token").stat().st_mode & 0o777 == 0o600
    assert str((tmp_path / "opt/wherry/current").readlink()) == "/opt/wherry/1"
    executor.do(Link("/opt/wherry/current", "/opt/wherry/2"))
    assert str((tmp_path / "opt/wherry/current").readlink()) == "/opt/wherry/2"
    executor.do(Remove("/etc/wherry"))
    assert (tmp_path / "etc/wherry").exists(), "it is not empty"
    for _ in range(2):
        executor.do(Remove("/opt/wherry/current"))
        executor.do(Remove("/etc/wherry", whole=True))
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "etc/systemd/system/x.service.d/1.conf"
    ]


def test_no_step_shows_a_secret() -> None:
    assert "secret" not in repr(Write("/etc/wherry/join.token", "secret"))


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"^sh -c .*: no such thing$"):
        Executor(tmp_path).do(Run("trying", ("sh", "-c", "echo no such thing >&2; exit 3")))
    with pytest.raises(StepFailed, match="no such file or directory"):
        Executor(tmp_path).do(Run("trying", ("no-such-program",)))


def test_the_topmost_mount_is_the_first() -> None:
    info = "\n".join(
        f"{number} 1 0:1 / {point} rw - tmpfs tmpfs rw"
        for number, point in enumerate(
            ("/", "/run/wherry/a\\040b", "/run/wherry/a\\040b/c", "/run/w")
        )
    )
    assert mount_points(["/run/wherry"], info) == ["/run/wherry/a b/c", "/run/wherry/a b"]


SHOWN = """\
Id=a.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
StatusText=serving https://10.0.0.1:6443
ExecMainStatus=0
Job=17
NRestarts=3

Id=b.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
"""


def test_units_are_read_as_systemd_shows_them() -> None:
    found = observe.parse_units(SHOWN)
    assert found["a.service"] == UnitState(
        "loaded", "active", "enabled", "serving https://10.0.0.1:6443", "0", True, 3
    )
    assert not found["b.service"].is_there
    assert str(found["b.service"]) == "inactive/absent"


UID = "0a1b2c3d-0000-4000-8000-0123456789ab"
LABELS = {
    "io.wherry.pod.uid": UID,
    "io.wherry.pod.namespace": "default",
    "io.wherry.pod.name": "hello-1",
    "io.wherry.container.name": "web",
    "io.wherry.container.attempt": "3",
}


@pytest.mark.parametrize(
    ("name", "labels", "ours"),
    [
        (f"wherry-{UID}-web-3", LABELS, True),
        ("committed-from-ours", LABELS, False),
        (f"wherry-{UID}-web-3", {}, False),
        (f"wherry-{UID}-web-3", {**LABELS, "io.wherry.pod.uid": "../.."}, False),
        ("wherry-thing", None, False),
    ],
)
def test_a_container_is_ours_as_the_kubelet_knows_it(
    name: str, labels: dict[str, str] | None, ours: bool
) -> None:
    listed = {"Id": "c", "Names": [name], "Labels": labels}
    assert observe.our_containers([listed]) == (["c"] if ours else [])
    assert podman_json.is_ours_listed(listed) == ours


def test_our_tables_are_told_from_others() -> None:
    listed = "table ip wherry-proxy\ntable inet wherry-proxy\ntable ip filter\n"
    assert observe.ours_of(listed) == ["ip wherry-proxy"]


def test_a_ledger_comes_before_the_first_change(tmp_path: Path) -> None:
    """An install that cannot go on is known to an uninstall."""
    want = wanted.master("/opt/wherry/1", "10.0.0.1")
    made = plan(want, observe.Found(users=frozenset({"wherry"})), Ledger(roles=("master",)))
    (tmp_path / "etc").write_text("in the way")
    said: list[str] = []
    with pytest.raises(StepFailed, match="making /etc/wherry"):
        program.carry_out(Executor(tmp_path), made, "", said.append)
    written = ledgers.load(tmp_path / "var/lib/wherry/install.json")
    assert set(written.files) == {file.path for file in want.files}
    assert said == ["making /etc/wherry"]


UP = UnitState("loaded", "active", "enabled", "serving")


@pytest.mark.parametrize(
    ("units", "answer", "line"),
    [
        ({"a": UP}, "", "ready"),
        ({"a": UP}, "its Node is not Ready yet", "its Node is not Ready yet"),
        ({"a": UP._replace(active="activating")}, "", "a is activating"),
        (
            {"a": UP._replace(active="activating", exit_code="1")},
            "",
            "a is activating, after exit code 1",
        ),
        (
            {"a": UP, "b": UP._replace(status="waiting for the kubelet to join")},
            "",
            "b is waiting for the kubelet to join",
        ),
        ({"a": UP._replace(has_job=True)}, "", "a is restarting"),
        ({"a": UP._replace(active="failed", exit_code="78")}, "", "a has failed (exit code 78)"),
        ({"a": UP._replace(active="activating", restarts=4)}, "", "a is activating"),
        (
            {"a": UP._replace(active="activating", restarts=5, exit_code="3")},
            "",
            "a ends again and again (exit code 3)",
        ),
        ({"a": UP._replace(restarts=5)}, "", "ready"),
    ],
)
def test_what_is_waited_for(units: dict[str, UnitState], answer: str, line: str) -> None:
    verdict = waiting.judge(units, lambda: answer)
    assert verdict.line == line
    assert verdict.is_done == (line == "ready")
    assert verdict.has_failed == ("failed" in line or "again and again" in line)


@pytest.mark.parametrize("name", SERVICES)
def test_an_install_waits_as_long_as_a_unit_may_take_to_start(name: str) -> None:
    assert float(unit(name)["Service"]["TimeoutStartSec"]) == waiting.LIMIT_SECONDS


class Waiting(Executor):
    """A machine whose kube-proxy waits for a kubelet that reaches no master."""

    def run(self, command: Sequence[str], text: str = "") -> str:
        """What systemctl and journalctl print."""
        if command[0] == "systemctl":
            blocks = ("a", "serving"), ("b", "waiting for a")
            return "\n\n".join(
                f"Id={name}\nLoadState=loaded\nActiveState=active\nStatusText={status}"
                for name, status in blocks
            )
        return f"connecting\n{command[-1]} says why\n"


def test_an_install_that_waits_for_too_long_shows_the_log_of_every_unit() -> None:
    said: list[str] = []
    clock = FakeClock()

    def say(line: str) -> None:
        said.append(line)
        clock.pass_at_once(waiting.LIMIT_SECONDS + 1)

    with pytest.raises(StepFailed) as caught:
        waiting.until_ready(Waiting(), ("a", "b"), lambda: "", say, clock)
    assert said == ["waiting: b is waiting for a"]
    assert str(caught.value).splitlines() == [
        "b is waiting for a",
        "a: connecting",
        "a: _SYSTEMD_UNIT=a says why",
        "b: connecting",
        "b: _SYSTEMD_UNIT=b says why",
    ]


def test_restarts_before_an_install_are_not_its_own() -> None:
    first = {"a": UP._replace(restarts=7)}
    now = {"a": UP._replace(active="activating", restarts=8)}
    assert waiting.since(first, now)["a"].restarts == 1


@pytest.mark.parametrize(
    ("conditions", "missing"),
    [
        ([{"type": "Ready", "status": "True"}], ""),
        (
            [{"type": "Ready", "status": "False", "message": "container runtime is down"}],
            "its Node is not Ready: container runtime is down",
        ),
        ([{"type": "DiskPressure", "status": "False"}], "its Node is not Ready yet"),
    ],
)
def test_a_node_says_itself_whether_it_is_ready(
    conditions: list[dict[str, str]], missing: str
) -> None:
    node = json.loads(json.dumps({"status": {"conditions": conditions}}))
    assert waiting.not_ready(node) == missing


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"/token cannot be read: no such file or directory$"),
        ("W1nonsense", r"/token: "),
    ],
)
def test_a_token_is_looked_at_before_anything_is_done(
    tmp_path: Path, text: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "CERTIFICATE", tmp_path / "node.pem")
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
    arguments = argparse.Namespace(role="node", token_file=str(file))
    with pytest.raises(program.Refused, match=said):
        program._token(arguments)
    arguments.token_file = ""
    with pytest.raises(program.Refused, match="--token-file is needed: `wherry token create`"):
        program._token(arguments)
    (tmp_path / "node.pem").touch()
    assert program._token(arguments) == "", "it has joined"


@pytest.mark.parametrize("words", [["begin", "node", "--server", "https://x:1"], ["uninstall"]])
def test_what_runs_before_an_environment_needs_the_standard_library_only(words: list[str]) -> None:
    """A checkout on a bare machine must do."""
    script = (
        "import sys; sys.argv = ['x', *sys.argv[1:], '--help']\n"
        "from deploy.machine import __main__\n"
        "try: __main__.main()\n"
        "except SystemExit: pass\n"
        "own = {'common', 'deploy', '__main__'}\n"
        "sys.exit(str({n.split('.')[0] for n in sys.modules} - own - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.strip() == "set()"
    assert "usage: deploy/" in done.stdout
