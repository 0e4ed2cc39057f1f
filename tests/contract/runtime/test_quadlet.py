"""What `wherry export quadlet` writes, run by Podman itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.api import quadlet
from common.api.podreferences import CONFIG_MAPS, SECRETS, Reference
from tests.servers.podman import TEST_IMAGE, Podman

pytestmark = pytest.mark.podman
SCRIPT = "echo $COLOR $WORD $NODE; cat /etc/app/app.conf /scratch/made; exit 0"


def a_pod() -> dict[str, Any]:
    """A pod with what most have: variables, files, limits, a step before."""
    scratch = {"name": "scratch", "mountPath": "/scratch"}
    common = {"image": TEST_IMAGE, "imagePullPolicy": "Never"}
    return {
        "metadata": {"name": "exported", "namespace": "default", "labels": {"app": "x"}},
        "spec": {
            "nodeName": "node1",
            "restartPolicy": "Never",
            "hostNetwork": True,
            "initContainers": [
                {
                    **common,
                    "name": "first",
                    "command": ["/bin/sh", "-c", "echo ready > /scratch/made"],
                    "volumeMounts": [scratch],
                }
            ],
            "containers": [
                {
                    **common,
                    "name": "main",
                    "command": ["/bin/sh", "-c", SCRIPT],
                    "env": [
                        {
                            "name": "COLOR",
                            "valueFrom": {"configMapKeyRef": {"name": "app", "key": "color"}},
                        },
                        {
                            "name": "WORD",
                            "valueFrom": {"secretKeyRef": {"name": "own", "key": "word"}},
                        },
                        {
                            "name": "NODE",
                            "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}},
                        },
                    ],
                    "resources": {"limits": {"memory": "64Mi"}},
                    "volumeMounts": [scratch, {"name": "conf", "mountPath": "/etc/app"}],
                }
            ],
            "volumes": [
                {"name": "scratch", "emptyDir": {}},
                {"name": "conf", "configMap": {"name": "app"}},
            ],
        },
    }


OBJECTS: dict[Reference, dict[str, Any]] = {
    Reference(CONFIG_MAPS, "default", "app"): {
        "metadata": {"name": "app"},
        "data": {"color": "blue", "app.conf": "setting\n"},
    },
    Reference(SECRETS, "default", "own"): {"metadata": {"name": "own"}, "data": {"word": "YWJj"}},
}


async def test_podman_runs_an_exported_pod(podman: Podman, tmp_path: Path) -> None:
    made = quadlet.export(a_pod(), OBJECTS)
    assert made.left_out == []
    file = tmp_path / "exported.yaml"
    file.write_bytes(made.files["exported.yaml"])
    try:
        await podman.run("play", "kube", str(file))
        await podman.run("wait", "exported-main")
        said = await podman.run("logs", "exported-main")
        assert said.split() == ["blue", "abc", "node1", "setting", "ready"]
    finally:
        await podman.run("pod", "rm", "--force", "--ignore", "exported")
