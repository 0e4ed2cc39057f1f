"""deploy/examples/hello.yaml on machines: a pod on each node, and a port that leads to them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.machines.machines import Machines
from tests.machines.tools.ansible import ROOT, files_of_checkout

PIDS = "podman ps --format '{{.Names}} {{.Pid}}' | sort"
IMAGE = """
mkdir /root/demo; cd /root/demo; tar -xf ../demo.tar
source deploy/lib/common.sh; source deploy/lib/image.sh; image_tree /root/demo/tree
tar -C /root/demo/tree/root -c . | podman import -q -c 'CMD ["/bin/serve"]' \
    -c 'ENV PATH=/bin' -c 'ENV PORT=8080' - localhost/wherry-demo
rm -r /root/demo /root/demo.tar
"""
"""Makes the image on a machine, from what `archive_of_demo` is there at /root/demo.tar."""


def deploy_hello(machines: Machines, *nodes: str) -> int:
    """Bring its image to the nodes and apply it; its node port."""
    with tempfile.TemporaryDirectory() as directory:
        archive = archive_of_demo(Path(directory))
        for name in nodes:
            machines.put(name, archive, "/root/demo.tar")
            machines.run(name, IMAGE)
    manifest = (ROOT / "deploy/examples/hello.yaml").read_text()
    machines.run("m1", "wherry apply -f -", input=manifest)
    service = json.loads(machines.run("m1", "wherry get service hello -o json"))
    return int(service["spec"]["ports"][0]["nodePort"])


def archive_of_demo(directory: Path) -> Path:
    """What the image is made from, in a new file there."""
    archive = directory / "demo.tar"
    archive.write_bytes(files_of_checkout("deploy/lib", "deploy/demo"))
    return archive


def is_whole(machines: Machines) -> bool:
    """Whether all three pods are ready, as far as the master answers."""
    said = machines.run("m1", "wherry get deployment hello -o json", check=False)
    try:
        return bool(json.loads(said)["status"].get("readyReplicas") == 3)
    except ValueError:
        return False


def until(condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Return when the condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not in time"
        time.sleep(0.3)
