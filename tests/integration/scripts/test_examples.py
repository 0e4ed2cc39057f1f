"""Each example of deploy/examples/grpc that needs no node, as a user runs it."""

from __future__ import annotations

import ast
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.servers.master import ROOT, RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(240)]
EXAMPLES = ROOT / "deploy/examples/grpc"
LINE_SECONDS = 60.0
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


class Script:
    """A running example whose lines can be waited for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._text = b""

    def until(self, fits: Callable[[str], bool]) -> str:
        """The first whole line that fits; fails when none comes in time."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + LINE_SECONDS
        seen: list[str] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                while b"\n" in self._text:
                    line, self._text = self._text.split(b"\n", 1)
                    seen.append(line.decode())
                    if fits(seen[-1]):
                        return seen[-1]
                if selector.select(0.5):
                    more = os.read(self._process.stdout.fileno(), 65536)
                    assert more, f"the script has ended: {seen}"
                    self._text += more
        raise AssertionError(f"no such line: {seen}")


@contextmanager
def running(environment: dict[str, str], name: str, *arguments: str) -> Iterator[Script]:
    """An example that runs until the block ends."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Script(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def finished(environment: dict[str, str], name: str, *arguments: str) -> str:
    """What an example prints that ends by itself."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["certificate", "token"])
def environment(
    master: RunningMaster, request: pytest.FixtureRequest, tmp_path: Path
) -> dict[str, str]:
    """The environment of a user who has one kind of credentials, with Wherry installed."""
    found = master.environment(tmp_path, token=request.param == "token")
    return {**found, "PYTHONPATH": str(ROOT)}


def deployment(name: str, **labels: str) -> dict[str, Any]:
    """A Deployment of no pods."""
    app = {"app": name}
    template = {
        "metadata": {"labels": app},
        "spec": {"containers": [{"name": "c", "image": "old"}, {"name": "d", "image": "x"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": app}, "template": template}
    meta = {"name": name, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def test_list_and_watch_pods(master: RunningMaster, environment: dict[str, str]) -> None:
    """What is there, and then each change."""
    admin, pods = master.admin(), "/api/v1/namespaces/default/pods"

    def make(name: str) -> None:
        spec = {"containers": [{"name": "c", "image": "x"}]}
        admin.json("POST", pods, {"metadata": {"name": name}, "spec": spec})

    def remove(name: str) -> None:
        admin.json("DELETE", f"{pods}/{name}", {"gracePeriodSeconds": 0})

    make("first")
    with running(environment, "list_and_watch_pods.py", "default") as script:
        script.until(lambda line: line.startswith("THERE") and "default/first" in line)
        make("second")
        script.until(lambda line: line.startswith("ADDED") and "default/second" in line)
        remove("first")
        script.until(lambda line: line.startswith("DELETED") and "default/first" in line)
    remove("second")


def test_apply_and_wait(master: RunningMaster, environment: dict[str, str], tmp_path: Path) -> None:
    """Two objects, created and followed to their end."""
    file = tmp_path / "both.yaml"
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "both"}}
    file.write_text(f"{json.dumps(config)}\n---\n{json.dumps(deployment('both'))}\n")
    said = finished(environment, "apply_and_wait.py", str(file))
    assert "ConfigMap both: created" in said
    assert '[1/2] configmap "both" is there' in said
    assert '[2/2] deployment "both" successfully rolled out' in said
    again = finished(environment, "apply_and_wait.py", str(file))
    assert "ConfigMap both: unchanged" in again
    master.admin().json("DELETE", f"{MAPS}/both")
    master.admin().json("DELETE", f"{DEPLOYMENTS}/both")


def test_roll_deployment(master: RunningMaster, environment: dict[str, str]) -> None:
    """The first container has the new image, the other its own, and the rollout is done."""
    admin = master.admin()
    admin.json("POST", DEPLOYMENTS, deployment("roll"))
    said = finished(environment, "roll_deployment.py", "roll", "new:2")
    assert said.splitlines()[-1] == 'deployment "roll" successfully rolled out'
    found = admin.json("GET", f"{DEPLOYMENTS}/roll")["spec"]["template"]["spec"]["containers"]
    assert [(c["name"], c["image"]) for c in found] == [("c", "new:2"), ("d", "x")]
    admin.json("DELETE", f"{DEPLOYMENTS}/roll")


@pytest.mark.parametrize(
    "name",
    [
        "grpc/apply_and_wait.py",
        "grpc/reflection_only.py",
        "grpc/roll_deployment.py",
        "grpc/stream_logs.py",
        "schedulers/own_process.py",
    ],
)
def test_a_script_that_lacks_something_says_what_it_takes(name: str) -> None:
    """Its own docstring, and no traceback."""
    script = EXAMPLES.parent / name
    done = subprocess.run(
        [sys.executable, str(script)], env={"PATH": os.environ["PATH"]}, stderr=subprocess.PIPE
    )
    docstring = ast.get_docstring(ast.parse(script.read_text()), clean=False)
    assert done.stderr.decode() == f"{docstring}\n"
    assert done.returncode == 1


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_words_too_many_are_refused(master: RunningMaster, tmp_path: Path, script: Path) -> None:
    environment = {**master.environment(tmp_path, token=True), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), "a", "b", "c", "d"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    docstring = ast.get_docstring(ast.parse(script.read_text()), clean=False)
    assert (done.returncode, done.stderr) == (1, f"{docstring}\n")
    help_ = subprocess.run(
        [sys.executable, str(script), "--help"], env=environment, capture_output=True, text=True
    )
    assert f"{docstring}\n" in (help_.stdout, help_.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("grpc/configmap_operator.py",),
        ("grpc/list_and_watch_pods.py",),
        ("grpc/node_usage.py",),
        ("grpc/react_to_events.py",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_ctrl_c_is_quiet(
    master: RunningMaster, environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    """Once it has connected: a socket of the process leads to the master."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES.parent / arguments[0])],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    of_process = psutil.Process(process.pid)
    deadline = time.monotonic() + LINE_SECONDS
    while not any(c.status == "ESTABLISHED" for c in of_process.net_connections()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=30), said) == (130, "")


def test_what_the_master_refuses_is_said_in_a_line(
    master: RunningMaster, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("{apiVersion: v1, kind: Pod, metadata: {name: Bad_}}")
    for name, arguments, words in (
        ("roll_deployment.py", ("nosuch", "x"), 'deployments.apps "nosuch" not found'),
        ("apply_and_wait.py", (str(tmp_path / "bad.yaml"),), 'Pod "Bad_" is invalid: '),
        (
            "apply_and_wait.py",
            (str(tmp_path / "none.yaml"),),
            "none.yaml: no such file or directory",
        ),
    ):
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode == 1


def test_react_to_events(master: RunningMaster, environment: dict[str, str]) -> None:
    """A Warning is printed; a Normal event is not."""
    admin = master.admin()
    with running(environment, "react_to_events.py") as script:
        for kind, number in (("Normal", 1), ("Warning", 2)):
            about = {"kind": "Pod", "namespace": "default", "name": f"pod-{number}"}
            admin.json(
                "POST",
                "/api/v1/namespaces/default/events",
                {
                    "metadata": {"generateName": "e-"},
                    "involvedObject": about,
                    "type": kind,
                    "reason": "Testing",
                    "message": "hello",
                },
            )
        first = script.until(lambda line: line.startswith("pod-"))
        assert first == "pod-2 Testing hello"


def test_reflection_only(master: RunningMaster, tmp_path: Path) -> None:
    """Without any code of ours: the server describes itself."""
    environment = master.environment(tmp_path, token=True)
    environment.pop("PYTHONPATH", None)
    found = subprocess.run(
        [sys.executable, str(EXAMPLES / "reflection_only.py"), "Namespace"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert {"-/default", "-/kube-system"} <= set(found.stdout.split())


def test_operator(master: RunningMaster, environment: dict[str, str]) -> None:
    """The ConfigMap appears, follows its Deployment, and comes back when somebody breaks it."""
    admin = master.admin()
    with running(environment, "configmap_operator.py") as script:
        admin.json("POST", DEPLOYMENTS, deployment("seen", info="yes"))
        script.until(lambda line: line == "default/seen: created seen-info")
        made = admin.json("GET", f"{MAPS}/seen-info")
        assert made["data"] == {"wanted": "0", "ready": "0"}
        assert made["metadata"]["ownerReferences"][0]["name"] == "seen"
        made["data"]["wanted"] = "nonsense"
        admin.json("PUT", f"{MAPS}/seen-info", made)
        script.until(lambda line: "updated seen-info" in line and "'wanted': '0'" in line)
        admin.json("DELETE", f"{MAPS}/seen-info")
        script.until(lambda line: line == "default/seen: created seen-info")
        admin.json("POST", DEPLOYMENTS, deployment("unseen"))
        changed = admin.json("GET", f"{DEPLOYMENTS}/seen")
        changed["spec"]["replicas"] = 1
        admin.json("PUT", f"{DEPLOYMENTS}/seen", changed)
        script.until(lambda line: "'wanted': '1'" in line)
        assert admin.request("GET", f"{MAPS}/unseen-info")[0] == 404
        for name in ("seen", "unseen"):
            admin.json("DELETE", f"{DEPLOYMENTS}/{name}")


def test_operator_outlives_its_master(master: RunningMaster, environment: dict[str, str]) -> None:
    """After a restart of the master the operator goes on where it was, by itself."""
    with running(environment, "configmap_operator.py") as script:
        master.admin().json("POST", DEPLOYMENTS, deployment("before", info="yes"))
        script.until(lambda line: line == "default/before: created before-info")
        master.stop()
        master.start()
        master.admin().json("POST", DEPLOYMENTS, deployment("after", info="yes"))
        script.until(lambda line: line == "default/after: created after-info")
    for name in ("before", "after"):
        master.admin().json("DELETE", f"{DEPLOYMENTS}/{name}")
