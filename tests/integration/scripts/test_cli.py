"""`wherry get`, `apply` and `logs` as a user types them, over both ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.servers.master import ROOT, RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
Run = Callable[..., subprocess.CompletedProcess[str]]
MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {color: blue}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: x}]}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {}}}
spec: {{containers: [{{name: c, image: x}}]}}
"""


@pytest.fixture(params=["certificate", "token"])
def environment(
    master: RunningMaster, request: pytest.FixtureRequest, tmp_path: Path
) -> dict[str, str]:
    """The environment of a user who has one kind of credentials."""
    return master.environment(tmp_path, token=request.param == "token")


@pytest.fixture
def wherry(environment: dict[str, str]) -> Run:
    """Runs the command."""

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from common.cli.main import main; main()", *arguments],
            cwd=ROOT,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_apply_and_get(wherry: Run, environment: dict[str, str], tmp_path: Path) -> None:
    """Objects are created, left alone, changed, awaited, and shown in every form."""
    file = tmp_path / "web.yaml"
    file.write_text(MANIFEST)
    first = wherry("apply", "-f", str(file), "--wait")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[:2] == [
        "configmap/settings created",
        "deployment.apps/web created",
    ]
    assert first.stdout.splitlines()[-1] == 'deployment "web" successfully rolled out'
    again = wherry("apply", "-f", "-", text=MANIFEST.replace("blue", "red"))
    assert again.stdout.splitlines() == [
        "configmap/settings configured",
        "deployment.apps/web unchanged",
    ]
    table = wherry("get", "deployments").stdout.splitlines()
    assert table[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert table[1].split()[:2] == ["web", "0/0"]
    across = wherry("get", "cm", "-A", "-l", "app=web").stdout.splitlines()
    assert across[0].split()[:2] == ["NAMESPACE", "NAME"]
    assert across[1].split()[:2] == ["default", "settings"]
    assert "CONTAINERS" in wherry("get", "deploy", "web", "-o", "wide").stdout
    one = json.loads(wherry("get", "cm", "settings", "-o", "json").stdout)
    assert one["data"] == {"color": "red"}
    many = yaml.safe_load(wherry("get", "cm", "-l", "app=web", "-o", "yaml").stdout)
    assert [item["metadata"]["name"] for item in many["items"]] == ["settings"]
    names = wherry("get", "deploy", "-o", "name").stdout.split()
    assert names == ["deployment.apps/web"]
    empty = wherry("get", "pods", "-n", "kube-public")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert empty.stderr == "No resources found in kube-public namespace.\n"
    # There is no `wherry delete`: a program asks the API, as a user's would.
    program = (
        "import asyncio\n"
        "from common.client import connect\n"
        "async def main():\n"
        "    async with connect() as client:\n"
        "        for kind, name in (('cm', 'settings'), ('deploy', 'web')):\n"
        "            await client.delete(client.resource(kind), 'default', name)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)


def test_a_pod_is_applied_again(wherry: Run) -> None:
    """The API server has added a volume and its mounts, which may not go."""
    said = [wherry("apply", "-f", "-", text=POD.format("twice")) for _ in range(2)]
    said.append(
        wherry("apply", "-f", "-", text=POD.format("twice").replace("image: x", "image: z"))
    )
    assert [(one.stdout.strip(), one.stderr) for one in said] == [
        ("pod/twice created", ""),
        ("pod/twice unchanged", ""),
        ("pod/twice configured", ""),
    ]
    assert wherry("delete", "pod", "twice").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "pods", "none"], 'pods "none" not found'),
        (["get", "nonsense"], 'the server has no resource type "nonsense"'),
        (["logs", "none"], 'pods "none" not found'),
        (["apply", "-f", "/none"], "cannot read /none: no such file or directory"),
        (["apply", "-f", "/dev/null"], "no objects in /dev/null"),
        (["apply", "-f", "-"], 'no matches for kind "X" in version "v1"'),
        (["get", "pod/x", "y"], "KIND/NAME stands for one object"),
        (["get", "pods,services", "y"], "a name needs one kind"),
        (["get", "pods,nonsense"], 'the server has no resource type "nonsense"'),
        (["logs"], "needs either the name of a pod or a selector"),
        (["logs", "x", "-l", "a=b"], "needs either the name of a pod or a selector"),
        (["logs", "service/x"], "logs are of pods, not of 'service'"),
    ],
)
def test_errors_are_one_line(wherry: Run, arguments: list[str], said: str) -> None:
    """What is wrong stands on stderr, in one line and without a traceback."""
    failed = wherry(*arguments, text="{apiVersion: v1, kind: X, metadata: {name: x}}")
    assert failed.returncode == 1
    assert said in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_a_reader_who_has_seen_enough_is_no_error(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        ended = subprocess.run(
            [sys.executable, "-c", "from common.cli.main import main; main()", "get", "namespaces"],
            cwd=ROOT,
            env=environment,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_unreachable_master(tmp_path: Path) -> None:
    """Without a master, or without a word where it is, there is one line as well."""
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(tmp_path / "none")}
    code = "from common.cli.main import main; main()"
    failed = subprocess.run(
        [sys.executable, "-c", code, "get", "pods"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("wherry: ")
    said = f"cannot read kubeconfig {tmp_path}/none: no such file or directory"
    assert failed.stderr == f"wherry: {said}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "error converting YAML to JSON: yaml: line 2: did not find expected node content"),
        ("{kind: List, items: 5}", "items of a List must be an array"),
        ("{kind: List, items: [x]}", "a manifest must be an object"),
        ("{apiVersion: v1, kind: Pod, metadata: x}", "metadata of a manifest must be an object"),
    ],
)
def test_a_file_that_is_no_manifest(wherry: Run, text: str, said: str) -> None:
    failed = wherry("apply", "-f", "-", text=text)
    assert (failed.returncode, failed.stderr) == (1, f"wherry: {said}\n")


def test_what_the_server_warns_of_is_told_once(wherry: Run, master: RunningMaster) -> None:
    """A PersistentVolumeClaim is stored, but nothing acts on it."""
    claim = "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {}}}, spec: {}}}"
    spec = "{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"
    text = "\n---\n".join(claim.format(name, spec) for name in ("one", "two"))
    done = wherry("apply", "-f", "-", text=text)
    assert done.returncode == 0, done.stderr
    warnings = done.stderr.splitlines()
    assert len(warnings) == len(set(warnings)) > 0
    assert all(line.startswith("Warning: ") for line in warnings)
    for name in ("one", "two"):
        path = f"/api/v1/namespaces/default/persistentvolumeclaims/{name}"
        master.admin().json("DELETE", path)


def test_several_kinds_and_one_object(wherry: Run) -> None:
    both = wherry("get", "svc,ns", "-A").stdout
    services, namespaces = both.split("\n\n")
    assert "service/kubernetes" in services
    assert "namespace/default" in namespaces
    assert wherry("get", "svc/kubernetes", "-o", "name").stdout == "service/kubernetes\n"
    names = wherry("get", "svc,ns", "-o", "name").stdout.split()
    assert {"service/kubernetes", "namespace/default"} <= set(names)
    listed = json.loads(wherry("get", "svc,ns", "-o", "json").stdout)
    assert {item["kind"] for item in listed["items"]} == {"Service", "Namespace"}


def test_logs_of_no_pod(wherry: Run) -> None:
    done = wherry("logs", "-l", "app=nobody")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "No pods found in default namespace.\n"


def test_what_is_waited_for_is_named(wherry: Run, master: RunningMaster) -> None:
    """No node is there, so the pod waits for one."""
    text = POD.format("w")
    failed = wherry("apply", "-f", "-", "--wait", "--timeout", "2s", text=text)
    master.admin().json("DELETE", "/api/v1/namespaces/default/pods/w")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == (
        'wherry: timed out after 2 s: Waiting for pod "w" to be ready: Pending...'
    )
    assert 'pod "w": Unschedulable: no nodes available' in failed.stderr


def test_ctrl_c_while_waiting(environment: dict[str, str], master: RunningMaster) -> None:
    text = POD.format("i")
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from common.cli.main import main; main()",
            *("apply", "-f", "-", "--wait"),
        ],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(text)
    process.stdin.close()
    while not process.stdout.readline().startswith("Waiting for pod"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert process.stderr is not None
    said = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert all(line.startswith('pod "i": Unschedulable') for line in said), said
    process.stdout.close()
    process.stderr.close()
    master.admin().json("DELETE", "/api/v1/namespaces/default/pods/i")


@pytest.mark.parametrize("environment", ["certificate"], indirect=True)
def test_a_token_that_nobody_made(wherry: Run) -> None:
    failed = wherry("token", "delete", "nosuch")
    assert (failed.returncode, failed.stderr) == (1, "wherry: there is no token nosuch\n")


def test_version(wherry: Run) -> None:
    assert re.fullmatch(r"wherry [0-9.]+\n", wherry("--version").stdout)


@pytest.mark.parametrize(
    ("words", "completed"),
    [(["pro"], "proxy"), (["token", "de"], "delete"), (["get", "--all-n"], "--all-namespaces")],
)
def test_a_shell_completes_verbs_and_options(wherry: Run, words: list[str], completed: str) -> None:
    script = wherry("completion", "bash").stdout
    line = f"COMP_WORDS=(wherry {' '.join(words)}); COMP_CWORD={len(words)}"
    function = re.findall(r"^complete .*-F (\S+) wherry$", script, re.MULTILINE)[0]
    ask = f"{script}\n{line}\n{function}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [completed]


@pytest.mark.parametrize("words", [["get", "pods", "--all"], ["--kube", "x", "get", "pods"]])
def test_a_flag_is_written_in_full(wherry: Run, words: list[str]) -> None:
    assert wherry(*words).returncode == 2


def test_versions_of_the_parts(master: RunningMaster, tmp_path: Path) -> None:
    environment = master.environment(tmp_path, token=False)
    command = [sys.executable, "-c", "from common.cli.main import main; main()", "version"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    own, of_master, *nodes = said.stdout.splitlines()
    version = own.removeprefix("wherry ")
    assert of_master.startswith(f"master {version} (Kubernetes v1.")
    assert all(line.startswith("node ") for line in nodes)


def test_a_node_is_emptied_and_used_again(wherry: Run) -> None:
    """A pod of a controller goes, one that stands alone only by force."""
    owner = "{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: '1', controller: true}"
    manifest = f"""\
apiVersion: v1
kind: Node
metadata: {{name: n1}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, ownerReferences: [{owner}]}}
spec: {{nodeName: n1, terminationGracePeriodSeconds: 0, containers: [{{name: c, image: x}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: alone}}
spec: {{nodeName: n1, terminationGracePeriodSeconds: 0, containers: [{{name: c, image: x}}]}}
"""
    assert wherry("apply", "-f", "-", text=manifest).returncode == 0
    refused = wherry("drain", "n1")
    assert refused.returncode == 1
    assert "pods of n1 again: default/alone; --force deletes them" in refused.stderr
    drained = wherry("drain", "n1", "--force")
    assert drained.stdout.splitlines()[-1] == "node/n1 drained", drained.stderr
    assert "SchedulingDisabled" in wherry("get", "nodes").stdout
    assert wherry("get", "pods").stdout == ""
    assert wherry("uncordon", "n1").stdout == "node/n1 uncordoned\n"
    assert wherry("cordon", "n1").stdout == "node/n1 cordoned\n"
    assert wherry("delete", "node", "n1").stdout == "node/n1 deleted\n"
    for gone in (wherry("drain", "n1"), wherry("delete", "no", "n1")):
        assert (gone.returncode, gone.stderr) == (1, 'wherry: nodes "n1" not found\n')


def test_a_pod_is_exported_for_systemd(wherry: Run, tmp_path: Path) -> None:
    """With the values that it has now, in files that only their owner may read."""
    settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: words}, data: {word: hi}}"
    env = "{name: W, valueFrom: {configMapKeyRef: {name: words, key: word}}}"
    spec = f"{{containers: [{{name: c, image: x, env: [{env}]}}]}}"
    pod = f"{{apiVersion: v1, kind: Pod, metadata: {{name: taken}}, spec: {spec}}}"
    made = wherry("apply", "-f", "-", text=f"{settings}\n---\n{pod}\n")
    assert made.returncode == 0, made.stderr
    said = wherry("export", "quadlet", "pod/taken", "-d", str(tmp_path / "units"))
    assert said.returncode == 0, said.stderr
    files = [Path(line) for line in said.stdout.splitlines()]
    assert [file.name for file in files] == ["taken.kube", "taken.yaml"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    [container] = yaml.safe_load(files[1].read_text())["spec"]["containers"]
    assert container["env"] == [{"name": "W", "value": "hi"}]
    assert "`systemctl start taken.service` runs it" in said.stderr
    assert "left out" not in said.stderr
    missing = wherry("export", "quadlet", "nobody", "-d", str(tmp_path))
    assert (missing.returncode, missing.stderr) == (1, 'wherry: pods "nobody" not found\n')
