"""What of deploy/local needs no machine: what is kept and for whom, and what is cleared away."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("common", "machines", "image", "environment", "install")
LIBRARY = "; ".join(["set -euo pipefail", *(f"source deploy/lib/{part}.sh" for part in PARTS)])


class Deploy:
    """deploy/lib on directories of a test."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.state.mkdir()
        self._directory = directory

    def run(self, script: str, *, name: str = "one", venv: str = "/venv") -> str:
        """What a bash script prints, with deploy/lib at hand."""
        settings = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "WHERRY_LOCAL_NAME": name,
            "WHERRY_LOCAL_STATE": str(self.state),
            "WHERRY_VENV": venv,
        }
        done = subprocess.run(
            ["bash", "-c", f"{LIBRARY}; {script}", "bash", str(self._directory)],
            cwd=ROOT,
            env=settings,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    return Deploy(tmp_path)


def up(stamp: str, machine: str) -> str:
    """The part of `up` that has to do with images, with one of this stamp."""
    return f"""
        image_stamp() {{ echo {stamp} -; }}
        image_make() {{ mkdir "$1"; echo {stamp} > "$1/layer"; }}
        image_build; machine_settings {machine}
    """


def test_a_new_image_leaves_those_alone_that_a_machine_was_made_with(deploy: Deploy) -> None:
    stores = deploy.state / "image-stores"
    deploy.run(up("old", "node1"))
    layer = (stores / "old" / "layer").stat().st_ino
    deploy.run(up("new", "node1"), name="two")
    deploy.run(up("new", "node1"))
    deploy.run(up("new", "node2"))
    assert (stores / "old" / "layer").stat().st_ino == layer
    made_with = [deploy.state / "one" / node / "settings" for node in ("node1", "node2")]
    assert [(place / "image-store").read_text() for place in made_with] == ["old\n", "new\n"]
    deploy.run('rm -r "$STATE"')
    deploy.run(up("newer", "node1"), name="two")
    assert sorted(store.name for store in stores.iterdir()) == ["new", "newer"]


def test_no_cluster_has_the_name_of_what_all_share(deploy: Deploy) -> None:
    deploy.run(up("old", "node1"))
    for shared in deploy.state.iterdir():
        if shared.name != "one":
            deploy.run("! (check_names)", name=shared.name)


def test_one_after_the_other_changes_what_all_share(deploy: Deploy) -> None:
    said = deploy.run(
        """
        work() { echo begin; sleep 0.2; echo end; }
        for i in 1 2 3; do alone "$STATE_ROOT" work & done; wait
        """
    )
    assert re.findall("begin|end", said) == ["begin", "end"] * 3


def test_a_mount_point_that_was_made_goes_even_after_a_reboot(deploy: Deploy) -> None:
    said = deploy.run(
        """
        RUN_ROOT=$1/run MOUNT_POINTS=$1/state/mount-points PRIVATE_DIRS=("$1/theirs" "$1/a/ours")
        mkdir "$1/theirs" "$RUN_ROOT"
        mount_points_make
        rm -r "$RUN_ROOT"; mkdir "$RUN_ROOT"  # what a reboot leaves of /run
        mount_points_make
        mkdir "$RUN_ROOT/other"; mount_points_remove; ls -d "$1/a/ours"
        rmdir "$RUN_ROOT/other"; mount_points_remove
        ls -d "$1/theirs" "$1/a/ours" "$MOUNT_POINTS" 2>/dev/null || true
        """
    )
    assert [Path(line).name for line in said.splitlines()] == ["ours", "theirs"]


def test_the_environment_may_lie_in_a_directory_with_a_space(deploy: Deploy) -> None:
    venv = "/my files/it's here"
    deploy.run(up("old", "node1"), venv=venv)
    environment = deploy.state / "one" / "node1" / "settings" / "environment"
    said = subprocess.check_output(
        ["sh", "-ec", f'. {environment}; printf "%s" "$PATH"'], text=True, env={"TERM": "x"}
    )
    assert said.startswith(f"{venv}/bin:/usr/local/sbin:")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Where the host says which services may start; `apt-get` shows it and then does its work."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "sbin").mkdir()
    program = tmp_path / "bin" / "apt-get"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/sbin/policy-rc.d; . {tmp_path}/work\n")
    program.chmod(0o755)
    return tmp_path / "sbin" / "policy-rc.d"


def install(deploy: Deploy, directory: Path, work: str) -> str:
    """Install a package, with this work for apt-get; what is printed."""
    (directory / "work").write_text(work)
    return deploy.run(
        """
        PATH=$1/bin:$PATH POLICY=$1/sbin/policy-rc.d DIRECTORY=$1
        missing_packages() { [[ -e $DIRECTORY/done ]] || echo some-package; }
        (install_packages) || echo failed
        """
    )


def test_no_service_starts_while_packages_come_and_every_one_afterwards(
    deploy: Deploy, tmp_path: Path, policy: Path
) -> None:
    work = f"grep -x 'exit 101' {policy} && touch {tmp_path}/done"
    assert "failed" not in install(deploy, tmp_path, work)
    assert (tmp_path / "done").exists()
    assert not policy.exists()


@pytest.mark.parametrize("signal", ["INT", "TERM"])
def test_an_install_that_is_interrupted_leaves_no_policy(
    deploy: Deploy, tmp_path: Path, policy: Path, signal: str
) -> None:
    assert "failed" in install(deploy, tmp_path, f"kill -{signal} $PPID; exit 1")
    assert not policy.exists()


def test_what_an_install_left_that_was_killed_goes_with_the_next(
    deploy: Deploy, tmp_path: Path, policy: Path
) -> None:
    assert "failed" in install(deploy, tmp_path, "kill -KILL $PPID; exit 1")
    assert policy.exists()
    (tmp_path / "done").touch()
    assert "failed" not in install(deploy, tmp_path, "")
    assert not policy.exists()


def test_the_admins_own_policy_stays(deploy: Deploy, tmp_path: Path, policy: Path) -> None:
    policy.write_text("#!/bin/sh\nexit 101\n")
    install(deploy, tmp_path, f"touch {tmp_path}/done")
    assert policy.read_text() == "#!/bin/sh\nexit 101\n"


def test_the_environment_is_made_anew_when_anything_that_is_installed_changes(
    deploy: Deploy, tmp_path: Path
) -> None:
    tree = tmp_path / "tree" / "common" / "api"
    tree.mkdir(parents=True)
    for file in ("a.py", "b.json"):
        (tree / file).write_text("1")
    stamps = {
        deploy.run(f"cd {tree}; {change}; ROOT=$1/tree; source_stamp || true")
        for change in (":", "echo 2 > a.py", "echo 2 > b.json")
    }
    assert len(stamps) == 3


def local(*arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    """deploy/local on a cluster of the test's own name and state."""
    return subprocess.run(
        [str(ROOT / "deploy/local"), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "WHERRY_LOCAL_NAME": "unittest",
            "WHERRY_LOCAL_STATE": str(state),
            "WHERRY_VENV": str(state / "venv"),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


VERBS = ("up", "status", "env", "shell", "stop", "start", "down")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_a_verb_does_nothing_else(tmp_path: Path, verb: str, word: str) -> None:
    (tmp_path / "unittest" / "node1").mkdir(parents=True)
    done = local(verb, word, state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")
    assert f"deploy/local {verb}" in done.stdout
    assert local("help", verb, state=tmp_path).stdout == done.stdout
    assert (tmp_path / "unittest" / "node1").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["down", "now"], "down takes no arguments, not now"),
        (["status", "-v"], "status takes no arguments, not -v"),
        (["env", "a", "b"], "env takes no arguments, not a b"),
        (["stop", "node1", "node2"], "stop takes one machine, not 2: node1 node2"),
        (["start", "node1", "node2"], "start takes one machine, not 2: node1 node2"),
        (["stop"], "stop needs the name of a machine"),
        (["shell"], "shell needs the name of a machine"),
        (["up", "3"], "up takes --nodes N only, not 3"),
        (["up", "--nodes"], "--nodes takes 1 to 9"),
        (["up", "--nodes", "10"], "--nodes takes 1 to 9"),
        (["up", "--nodes", "3", "more"], "up takes --nodes N only, not more"),
        (["help", "up", "down"], "help takes one verb, not 2: up down"),
        (["destroy"], "no verb destroy"),
    ],
)
def test_what_a_verb_does_not_take_is_refused(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "unittest" / "node1").mkdir(parents=True)
    done = local(*arguments, state=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert (tmp_path / "unittest" / "node1").exists()


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["tests/run", "--help"], 0, "Usage: tests/run [unit|ci|full] [-- PYTEST ARGUMENTS]"),
        (["tests/run", "unit", "-h"], 0, "Usage: tests/run"),
        (["tests/run", "nosuch"], 2, "not understood: nosuch"),
        (["tests/run", "unit", "tests/unit/api"], 2, "not understood: unit tests/unit/api"),
        (["tests/run", "-x"], 2, "not understood: -x"),
        ([".ci/run", "unit"], 2, "takes no arguments, not unit"),
    ],
)
def test_the_test_command_takes_what_it_knows(
    tmp_path: Path, command: list[str], code: int, said: str
) -> None:
    """And makes nothing otherwise."""
    venv = tmp_path / "venv"
    done = subprocess.run(
        [str(ROOT / command[0]), *command[1:]],
        env={"PATH": os.environ["PATH"], "WHERRY_TEST_VENV": str(venv)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert not venv.exists()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="deploy/local wants root")


@needs_root
@pytest.mark.parametrize("arguments", [["shell", "node1"], ["stop", "node1"], ["start", "node1"]])
def test_without_a_cluster_a_verb_says_so(tmp_path: Path, arguments: list[str]) -> None:
    done = local(*arguments, state=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "deploy/local: there is no cluster unittest; deploy/local up makes one\n"
    )


@needs_root
def test_an_unknown_machine_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    for machine in ("master", "node1"):
        (tmp_path / "unittest" / machine).mkdir(parents=True)
    done = local("stop", "node9", state=tmp_path)
    assert done.stderr == "deploy/local: no machine node9; there are: master node1\n"


@needs_root
def test_status_does_not_ask_a_master_that_is_off(tmp_path: Path) -> None:
    """No kubectl is there: what called it would fail."""
    for machine in ("master", "node1"):
        (tmp_path / "unittest" / machine).mkdir(parents=True)
    (tmp_path / "unittest" / "kubeconfig").write_text("of a master that is off")
    done = local("status", state=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("nodes and pods are unknown: the master is off")
    assert done.stderr == ""


def test_an_interrupted_up_makes_as_many_nodes_as_were_asked_for(deploy: Deploy) -> None:
    assert deploy.run("wanted_nodes") == "3\n"
    said = deploy.run('mkdir -p "$STATE/master" "$STATE/node1" "$STATE/node2"; wanted_nodes')
    assert said == "2\n"
    assert deploy.run('echo 5 > "$STATE/nodes"; wanted_nodes') == "5\n"


FAKE_PYTHON = """
    V=$1/venv
    mkdir -p "$1/bin"
    cat > "$1/bin/python" <<'TEXT'
#!/bin/sh
[ "$2" != venv ] || { mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; }
TEXT
    chmod +x "$1/bin/python"
    PYTHON=$1/bin/python
    python_found() { echo "$PYTHON"; }
    half() { touch "$V/half"; kill -KILL "$BASHPID"; }
    whole() { touch "$V/whole"; }
"""


@pytest.mark.parametrize(
    "interrupted",
    [
        'mkdir "$V"',
        '(environment_make "$V" one half)',
        '(python_found() { echo "$V" > "$V/junk"; kill -KILL "$BASHPID"; }; '
        'environment_make "$V" one whole)',
        'environment_make "$V" zero whole; (environment_make "$V" one half)',
        'environment_make "$V" one whole; rm "$V/bin/python"',
    ],
)
def test_an_environment_is_whole_or_made_again(deploy: Deploy, interrupted: str) -> None:
    said = deploy.run(
        FAKE_PYTHON
        + f"""
        {{ {interrupted}; }} 2>/dev/null || true
        ! environment_current "$V" one
        environment_make "$V" one whole
        environment_current "$V" one
        (cd "$V" && find . -type f | sort)
        """
    )
    assert said.split() == ["./bin/python", "./wherry-stamp", "./whole"]


def test_an_environment_of_somebody_else_is_never_emptied(deploy: Deploy) -> None:
    said = deploy.run(
        FAKE_PYTHON
        + """
        "$PYTHON" -m venv "$V"; touch "$V/theirs"
        (environment_make "$V" one half) 2>/dev/null || true
        environment_make "$V" one whole
        ls "$V"
        """
    )
    assert "theirs" in said.split()


def test_one_line_of_progress_while_something_takes_long(deploy: Deploy) -> None:
    said = deploy.run(
        """
        work() { until grep -q 'working [.]' "$said"; do sleep 0.1; done; }
        said=$1/said; busy working work > "$said"; cat "$said"
        """
    )
    assert re.fullmatch(r" +\d+s  working \.+ ok\n", said)
