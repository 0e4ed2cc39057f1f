"""The machines themselves: they boot, are apart, lose power and cable, and go without a trace."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.machines.machines import NAMES, VM, Machines

pytestmark = [pytest.mark.machines, pytest.mark.timeout(900)]

ADDRESSES = {"m1": "10.97.7.10", "n1": "10.97.7.11", "n2": "10.97.7.12", "n3": "10.97.7.13"}
# It is stopped by a clean shutdown, and says so on disk.
WITNESS = (
    "systemd-run --quiet --unit=witness --property='ExecStop=/usr/bin/touch /root/stopped'"
    " sleep infinity"
)


def until(condition: Callable[[], bool], what: str, timeout_seconds: float = 20) -> None:
    """Return when the condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {timeout_seconds} s"
        time.sleep(0.2)


def boot_id(machines: Machines, name: str) -> str:
    """The number of this boot."""
    return machines.run(name, "cat /proc/sys/kernel/random/boot_id").strip()


def reaches(machines: Machines, name: str, other: str) -> bool:
    """Does a ping of the one come back from the other?"""
    return "1 received" in machines.run(name, f"ping -c 1 -W 1 {other}", check=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_is_a_debian_server(machines: Machines, name: str) -> None:
    """Everything that Debian starts runs, its etcd too; it does not forward."""
    release = "13" if name == "n3" else "12"
    assert machines.run(name, "systemctl is-system-running").strip() == "running"
    assert f'VERSION_ID="{release}"' in machines.run(name, "cat /etc/os-release")
    assert machines.run(name, "systemctl is-active ssh etcd").split() == ["active", "active"]
    assert machines.run(name, "hostname").strip() == name
    assert machines.run(name, "cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
    assert f"inet {ADDRESSES[name]}/24" in machines.run(name, "ip -4 -o address show eth0")
    assert machines.run(name, "findmnt -no PROPAGATION /").strip() == "shared"
    for setting in ("kernel/pid_max", "vm/swappiness", "fs/nr_open"):
        answer = machines.run(name, f"echo 1 > /proc/sys/{setting}", check=False)
        assert "Read-only file system" in answer, "the host has it, too"


def test_each_machine_has_an_identity_of_its_own(machines: Machines) -> None:
    """No two have the same machine id, boot id, MAC or ssh host key; the host's boot id is none."""
    files = (
        "/etc/machine-id",
        "/proc/sys/kernel/random/boot_id",
        "/sys/class/net/eth0/address",
        "/etc/ssh/ssh_host_ed25519_key.pub",
    )
    of_all = [machines.run(name, f"cat {' '.join(files)}").splitlines() for name in NAMES]
    for file, *seen in zip(files, *of_all, strict=True):
        assert len({line.split(" root@")[0] for line in seen}) == len(NAMES), file
    host = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert host not in [lines[1] for lines in of_all]


def test_machines_reach_each_other_and_nobody_else(machines: Machines) -> None:
    """By address and by name; whatever is not on the LAN is refused at once."""
    for other in (*ADDRESSES, *ADDRESSES.values()):
        assert reaches(machines, "n1", other), other
    answer = machines.run("n1", "ping -c 1 -W 5 192.0.2.1", check=False)
    assert "Destination Net Unreachable" in answer


@pytest.mark.parametrize("name", ["n1", "n3"])
def test_podman_runs_containers(machines: Machines, name: str) -> None:
    """As on a machine that is no container: under systemd's cgroups."""
    assert machines.run(name, "podman info -f '{{.Host.CgroupManager}}'").strip() == "systemd"
    root = "mkdir -p /root/tree/bin; cp /bin/busybox /root/tree/bin"
    run = "podman run --rm --network host --rootfs /root/tree /bin/busybox echo hello"
    assert machines.run(name, f"{root}; {run}").strip() == "hello"


def test_commands_and_files_arrive_as_they_are(machines: Machines, tmp_path: Path) -> None:
    """Words with spaces and quotes, standard input, exit codes, files and directories."""
    assert machines.vm("shell", "n1", "printf", "%s|", "a b", "'", "$HOME", "") == "a b|'|$HOME||"
    assert machines.run("n1", "cat", input="one\ntwo\n") == "one\ntwo\n"
    with pytest.raises(AssertionError, match="No such file"):
        machines.run("n1", "cat nothing")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "program").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "tree" / "program").chmod(0o755)
    machines.put("n1", tmp_path / "tree", "/root/sent")
    assert machines.run("n1", "/root/sent/program") == "ran\n"
    machines.get("n1", "/root/sent", tmp_path / "back")
    assert (tmp_path / "back" / "program").read_text() == "#!/bin/sh\necho ran\n"


def test_a_pulled_cable(machines: Machines) -> None:
    """The machine sees that its carrier is gone, stays on, and is there when it is plugged in."""
    before = boot_id(machines, "n1")
    machines.cut("n1")
    assert not reaches(machines, "m1", "n1")
    assert reaches(machines, "m1", "n2")
    machines.heal("n1")
    until(lambda: reaches(machines, "m1", "n1"), "n1 is back")
    assert boot_id(machines, "n1") == before
    assert int(machines.run("n1", "cat /sys/class/net/eth0/carrier_down_count")) >= 1


def test_a_power_cut(machines: Machines) -> None:
    """Nothing is stopped in an orderly way; the disk stays, memory and the network's rules go."""
    before, identity = boot_id(machines, "n1"), machines.run("n1", "cat /etc/machine-id")
    machines.run("n1", f"{WITNESS}; echo kept > /root/kept; echo lost > /run/lost")
    machines.run("n1", "nft add table inet lost; ip address add 192.0.2.7/32 dev lo")
    machines.off("n1")
    assert "n1 is off" in machines.vm("shell", "n1", "true", check=False)
    assert not reaches(machines, "m1", "n1")
    machines.on("n1")
    assert boot_id(machines, "n1") != before
    assert machines.run("n1", "cat /etc/machine-id") == identity
    assert machines.run("n1", "cat /root/kept; ls /root/stopped /run/lost", check=False) == (
        "kept\n"
        "ls: cannot access '/root/stopped': No such file or directory\n"
        "ls: cannot access '/run/lost': No such file or directory\n"
    )
    assert machines.run("n1", "nft list tables") == ""
    assert "192.0.2.7" not in machines.run("n1", "ip address")
    assert "-1" in machines.run("n1", "journalctl --list-boots -q"), "the log is kept"


def test_a_reboot(machines: Machines) -> None:
    """Everything is stopped in an orderly way before the machine comes back."""
    before, identity = boot_id(machines, "n3"), machines.run("n3", "cat /etc/machine-id")
    machines.run("n3", f"{WITNESS}; rm -f /root/stopped")
    machines.reboot("n3")
    assert boot_id(machines, "n3") != before
    assert machines.run("n3", "cat /etc/machine-id") == identity
    assert machines.run("n3", "ls /root/stopped") == "/root/stopped\n"


def test_a_machine_that_shuts_itself_down_stays_off(machines: Machines) -> None:
    """Also when it was told to reboot; `on` is what ends it."""
    machines.run("n2", "systemctl reboot", check=False)
    until(lambda: "n2 is off" in machines.vm("shell", "n2", "true", check=False), "n2 is off", 60)
    machines.on("n2")
    assert machines.run("n2", "systemctl is-active etcd") == "active\n"


def image_key(change: str) -> str:
    """The name of the image of Debian 12, after a change of what it is made from."""
    parts = "source deploy/lib/common.sh; source tests/machines/lib/settings.sh"
    script = f"{parts}; source tests/machines/lib/image.sh; {change}; image_key 12"
    found = subprocess.check_output(
        ["bash", "-euc", script], cwd=VM.parents[2], env=os.environ | {"HERE": str(VM.parent)}
    )
    return found.decode().strip()


def test_an_image_is_named_by_what_it_is_made_from() -> None:
    """So that a changed list makes a new one, and nothing else does."""
    assert image_key("true") == image_key("true")
    assert image_key("WHERRY_PACKAGES+=(less)") != image_key("true")
    assert image_key("MIRROR=http://example.com/debian") == image_key("true")


def test_a_second_up_changes_nothing(machines: Machines) -> None:
    """No image is built, and the machines stay on, as they are."""
    before = [boot_id(machines, name) for name in NAMES]
    assert not re.search("building|starting", machines.vm("up"))
    assert [boot_id(machines, name) for name in NAMES] == before


def test_the_inventory_lists_the_machines(machines: Machines) -> None:
    """With what ssh needs to reach them from inside."""
    lines = machines.inventory().splitlines()
    assert lines[:4] == ["[master]", "m1 ansible_host=10.97.7.10", "", "[nodes]"]
    assert lines[4:7] == [f"{name} ansible_host={ADDRESSES[name]}" for name in ("n1", "n2", "n3")]
    found = re.search(r"ansible_ssh_common_args='(.*)'", machines.inventory())
    assert found
    assert machines.inside("ssh", *found[1].split(), "10.97.7.10", "hostname") == "m1\n"


# ----------------------------------------------------------------------------- leaving nothing


@dataclass(frozen=True)
class Traces:
    """All of the host that machines could change. What deploy/local made meanwhile is left out."""

    links: frozenset[str]
    addresses: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    namespaces: str
    sysctls: dict[str, str]
    formats: frozenset[str]
    files: frozenset[str]
    rules: str


OF_OTHERS = r"wherry-local|-host[@ ]"  # clusters of deploy/local


def output(*command: str) -> frozenset[str]:
    """The lines that a command prints, without those of others."""
    printed = subprocess.check_output(command, text=True).splitlines()
    return frozenset(line for line in printed if not re.search(OF_OTHERS, line))


def sysctls() -> dict[str, str]:
    """All settings that the kernel has once; two of them it changes by itself."""
    found = {}
    own = ("ns_last_pid", "perf_event_max_sample_rate")
    for file in Path("/proc/sys").glob("[!n]*/**/*"):
        if file.is_file() and file.stat().st_mode & 0o200 and file.name not in own:
            with contextlib.suppress(OSError):
                found[str(file)] = file.read_text()
    return found


def cgroups(name: str) -> frozenset[str]:
    """The cgroups of these machines; what goes while they are read, is not there.

    find(1) fails for a folder that goes: a machine that runs ends services of its own.
    """
    made = f"/wherry-machines/{name}"
    return frozenset(folder for folder, _, _ in os.walk("/sys/fs/cgroup") if made in folder)


def host(machines: Machines) -> Traces:
    """What is there now."""
    name = machines.state.name
    places = ["/run", "/run/containers", "/dev/shm", "/var/lib/containers", "/var/lib/cni"]
    nft = shutil.which("nft")
    return Traces(
        links=output("ip", "-o", "-br", "link"),
        addresses=output("ip", "-o", "-4", "address"),
        mounts=output("findmnt", "-rno", "TARGET,SOURCE,FSTYPE"),
        cgroups=cgroups(name),
        namespaces=subprocess.check_output(["ip", "netns"], text=True),
        sysctls=sysctls(),
        formats=output("find", "/proc/sys/fs/binfmt_misc"),
        files=output("find", *filter(os.path.exists, places), "-maxdepth", "1"),
        rules=subprocess.check_output([nft, "list", "ruleset"], text=True) if nft else "",
    )


def processes_of(machines: Machines) -> list[str]:
    """The command lines of whatever belongs to this set of machines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            groups = (process / "cgroup").read_text()
            marked = f"WHERRY_MACHINES_HOLDER={machines.state}\0" in (
                (process / "environ").read_text(errors="replace")
            )
            if marked or f"/wherry-machines/{machines.state.name}/" in groups:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile
            continue
    return found


def test_down_leaves_nothing(other_machines: Machines) -> None:
    """While machines are on, the host has only processes and cgroups of them; then nothing."""
    before = host(other_machines)
    other_machines.up("n1")
    machine = "podman run -d --network host --rootfs /root/tree /bin/busybox sleep 1000"
    tree = "mkdir -p /root/tree/bin; cp /bin/busybox /root/tree/bin"
    other_machines.run("n1", f"nft add table inet mine; {tree}; {machine}")
    during = host(other_machines)
    assert (during.links, during.addresses) == (before.links, before.addresses)
    assert (during.mounts, during.namespaces) == (before.mounts, before.namespaces)
    assert (during.files, during.rules) == (before.files, before.rules)
    assert (during.sysctls, during.formats) == (before.sysctls, before.formats)
    assert during.cgroups > before.cgroups
    assert any("sleep 1000" in command for command in processes_of(other_machines))
    assert "gone: " in other_machines.vm("down")
    assert processes_of(other_machines) == []
    assert host(other_machines) == before
    assert not other_machines.state.exists()
    assert not other_machines.state.with_name(f"{other_machines.state.name}.lock").exists()


@pytest.mark.full
@pytest.mark.parametrize("seconds", [0.4, 0.7, 1.0, 1.5, 2.0, 3.0])
def test_after_an_up_that_was_killed(
    machines: Machines, other_machines: Machines, seconds: float
) -> None:
    """However far it came, `down` removes it, and so does `up` finish it."""
    assert machines
    for verb in ("down", "up"):
        with pytest.raises(subprocess.TimeoutExpired):
            other_machines.vm("up", timeout_seconds=seconds)
        other_machines.vm(verb)
    assert other_machines.run("n3", "hostname") == "n3\n"
    other_machines.down()
    assert processes_of(other_machines) == []


@pytest.mark.full
def test_down_after_the_holder_was_lost(other_machines: Machines) -> None:
    """The machines' processes are found without it."""
    other_machines.up("n1")
    holder = (other_machines.state / "holder").read_text().strip()
    subprocess.run(["kill", "-KILL", holder], check=True)
    assert "not made" in other_machines.vm("shell", "n1", "true", check=False)
    assert "gone: " in other_machines.vm("down")
    assert processes_of(other_machines) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fly"], "there is no verb fly"),
        (["up", "n9"], "there is no machine n9, only m1 n1 n2 n3"),
        (["off"], "off needs the name of a machine"),
        (["off", "n1", "n2"], "off takes one machine, not 2: n1 n2"),
        (["down", "n1"], "down takes no arguments, not n1"),
        (["inside"], "inside needs a command"),
        (["inside", "true"], "the machines are not up"),
        (["shell", "n1"], "n1 was not made"),
        (["inventory"], "no machine was made"),
    ],
)
def test_misuse_is_told_in_one_line(
    other_machines: Machines, arguments: list[str], complaint: str
) -> None:
    """In the user's words, and nothing is done."""
    done = subprocess.run(
        [VM, *arguments], env=other_machines.env, capture_output=True, text=True, timeout=20
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith(f"tests/machines/vm: {complaint}")
    assert done.stderr.count("\n") == 1
    assert not other_machines.state.exists()
