"""The machines of deploy/local: up, power off, power on, gone. No Wherry program takes part."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("podman", "runc", "catatonit", "runsvdir", "ip", "nsenter", "unshare", "busybox")
PARTS = ("common", "host", "machines", "image")
LIBRARY = "; ".join(["set -euo pipefail", *(f"source deploy/lib/{part}.sh" for part in PARTS)])
UP = """
check_names; image_build; run_up; lan_up
for machine in master node1 node2; do machine_settings "$machine"; machine_start "$machine"; done
"""

pytestmark = [pytest.mark.netns, pytest.mark.podman]


@dataclass(frozen=True)
class Cluster:
    """One set of machines, by the name, LAN and directory that keep it apart from all others."""

    name: str
    lan: str
    state: Path

    def bash(self, script: str, *, timeout_seconds: float = 60) -> str:
        """What `script` prints, with deploy/lib at hand; fails with what it complains about."""
        settings = {
            "WHERRY_LOCAL_NAME": self.name,
            "WHERRY_LOCAL_LAN": self.lan,
            "WHERRY_LOCAL_STATE": str(self.state),
        }
        done = subprocess.run(
            ["bash", "-c", f"{LIBRARY}; {script}"],
            cwd=ROOT,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def inside(self, machine: str, script: str) -> str:
        """What the shell `script` prints inside `machine`."""
        return self.bash(f"machine_exec {machine} sh -ec '{script}'")


@dataclass(frozen=True)
class Traces:
    """Everything on the host that a cluster of this name can leave behind."""

    processes: frozenset[int]
    links: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    files: frozenset[str]
    sysctls: str
    tables: str


def processes_in(namespaces: frozenset[str]) -> frozenset[int]:
    """The processes of these PID, network or mount namespaces, as the host numbers them."""
    found = set()
    for kind in ("pid", "net", "mnt"):
        for link in Path("/proc").glob(f"[0-9]*/ns/{kind}"):
            try:
                if str(link.readlink()) in namespaces:
                    found.add(int(link.parts[2]))
            except OSError:
                continue
    return frozenset(found)


def traces(cluster: Cluster, namespaces: frozenset[str] = frozenset()) -> Traces:
    """What the cluster, or one of its `namespaces`, shows on the host now."""
    run = f"/run/wherry-local/{cluster.name}"
    links = subprocess.check_output(["ip", "-o", "link"], text=True)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    cgroups = Path("/sys/fs/cgroup").glob(f"**/wherry-local/{cluster.name}/**")
    places = (Path(run), cluster.state / cluster.name)
    nft = shutil.which("nft")
    return Traces(
        processes=processes_in(namespaces),
        links=frozenset(re.findall(rf"^\d+: ({cluster.name}-[^:@]*)", links, re.MULTILINE)),
        mounts=frozenset(
            line for line in mounts if any(re.search(f" {place}[ /]", line) for place in places)
        ),
        cgroups=frozenset(str(path) for path in cgroups),
        files=frozenset(str(place) for place in places if place.exists()),
        sysctls=Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        tables=subprocess.check_output([nft, "list", "tables"], text=True) if nft else "",
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that keeps the demo image from test to test."""
    return tmp_path_factory.mktemp("wherry-local")


@pytest.fixture
def cluster(images: Path) -> Iterator[Cluster]:
    """A name and a LAN that nobody else on this host uses; all of it is gone afterwards."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        reason = f"needs root and {' '.join(PROGRAMS)}; missing: {' '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    number = os.getpid() % 200
    made = Cluster(f"wt{os.getpid() % 100000}", f"10.98.{number}", images)
    try:
        yield made
    finally:
        made.bash("machines_down")


def namespaces_of(cluster: Cluster) -> frozenset[str]:
    """The PID, network and mount namespaces of the machines that are on."""
    each = 'for machine in $(machine_names); do machine_pid "$machine" || true; done'
    places = [Path("/proc", pid, "ns") for pid in cluster.bash(each).split()]
    return frozenset(str((ns / kind).readlink()) for ns in places for kind in ("pid", "net", "mnt"))


def test_down_leaves_nothing_behind_twice(cluster: Cluster) -> None:
    """The second round finds the host as the first one did."""
    before = traces(cluster)
    for _ in range(2):
        cluster.bash(UP)
        cluster.inside("node1", "podman run -d --net=host localhost/wherry-demo")
        namespaces = namespaces_of(cluster)
        during = traces(cluster, namespaces)
        assert len(namespaces) == 9
        assert during.links == {f"{cluster.name}-host"}
        assert during.processes and during.mounts and during.cgroups and during.files
        assert "gone: " in cluster.bash("machines_down")
        after = traces(cluster, namespaces)
        # Other clusters' processes may get a namespace's number, and a process's, but not both.
        assert not during.processes & after.processes
        assert replace(after, processes=frozenset()) == before


def test_a_second_up_changes_nothing(cluster: Cluster) -> None:
    """The machines that are on stay on, as they are."""
    cluster.bash(UP)
    namespaces = namespaces_of(cluster)
    cluster.bash(UP)
    assert namespaces_of(cluster) == namespaces


def test_a_new_image_takes_nothing_from_what_runs(cluster: Cluster) -> None:
    """A container goes on with the files of the image that it was made from."""
    cluster.bash(UP)
    assert reaches_node(cluster, "master")
    cluster.bash(f"image_stamp() {{ echo other -; }}; {UP}")
    cluster.inside("node1", "podman exec web cat /bin/serve")
    assert reaches_node(cluster, "master"), "a container can be made of it, too"


def test_up_repairs_what_an_interrupted_one_left(cluster: Cluster) -> None:
    """A machine without its cable, and a bridge without the host: both are made anew."""
    cluster.bash(UP)
    cluster.bash('rm "$RUN/node1/pid"; ip link del "$NAME-host"')
    cluster.bash(UP)
    for machine in ("master", "node1", "node2"):
        assert cluster.inside(machine, "hostname").strip() == machine
    assert reaches_node(cluster, "master")


def patiently(command: str) -> str:
    """The shell loop that runs `command` until it succeeds, for some ten seconds."""
    return f"for i in $(seq 100); do {command} && break; sleep 0.1; done"


@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.8, 1.2])
def test_up_after_one_that_was_killed(cluster: Cluster, seconds: float) -> None:
    """However far the first one came."""
    with pytest.raises(subprocess.TimeoutExpired):
        cluster.bash(f"{UP} sleep 60", timeout_seconds=seconds)
    cluster.bash(UP)
    assert reaches_node(cluster, "master")


def reaches_node(cluster: Cluster, machine: str) -> bool:
    """Does node1's demo server, started here, answer `machine`?"""
    cluster.inside("node1", "podman run -d --replace --name web --net=host localhost/wherry-demo")
    return "hello from node1" in cluster.inside(
        machine, patiently("busybox wget -qO- http://node1:8080")
    )


def test_power_off_keeps_storage_and_forgets_the_run_directory(cluster: Cluster) -> None:
    """Every process ends at once; images, private files and the address are there again."""
    cluster.bash(UP)
    cluster.inside("node1", "echo kept > /var/lib/wherry/file; echo lost > /run/file")
    assert reaches_node(cluster, "node2")
    off = namespaces_of(cluster)
    processes = processes_in(off)
    cluster.bash("machine_stop node1")
    off -= namespaces_of(cluster)
    assert not processes & processes_in(off)
    cluster.bash("machine_start node1")
    cluster.inside("node1", "grep kept /var/lib/wherry/file; test ! -e /run/file")
    assert cluster.inside("node1", "podman ps -q").strip() == ""
    assert reaches_node(cluster, "node2")


def test_the_supervisor_restarts_the_podman_service(cluster: Cluster) -> None:
    """A killed service has another process soon after."""
    cluster.bash(UP)
    status = "sv status /run/service/podman | grep ^run"
    first = re.search(r"\(pid (\d+)\)", cluster.inside("node1", patiently(status)))
    assert first is not None
    cluster.inside("node1", f"kill -KILL {first[1]}")
    other = f'{status} | grep -v "pid {first[1]})"'
    assert re.search(r"\(pid (\d+)\)", cluster.inside("node1", patiently(other)))


def test_machines_share_nothing_but_the_lan(cluster: Cluster) -> None:
    """Storage, temporary files, shared memory and host names are each machine's own."""
    cluster.bash(UP)
    places = "/tmp /dev/shm /etc/wherry /var/lib/containers /var/log/pods /run"
    cluster.inside("node1", f"for dir in {places}; do touch $dir/mine; done")
    cluster.inside("node2", f"for dir in {places}; do test ! -e $dir/mine; done")
    assert not any(Path(place, "mine").exists() for place in places.split())
