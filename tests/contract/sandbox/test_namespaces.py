"""What only real namespaces can show: names, shared memory, traffic, repair, nothing left."""

import contextlib
import subprocess
from pathlib import Path

import pytest

from common.runtime.offload import Offload
from node.network import sandbox as sandboxes
from node.network.sandbox import NamespaceSandbox, link_name
from node.runtime.base import SandboxFailed, SandboxStatus
from tests.contract.sandbox.conftest import a_spec

pytestmark = pytest.mark.netns


IPC = ("readlink", "/proc/self/ns/ipc")


def said(*command: str) -> str:
    """What a program prints on the thread's machine; it must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def inside(status: SandboxStatus, *command: str) -> str:
    """What a program prints inside a sandbox."""
    names = (f"--net={status.netns_path}", f"--uts={status.utsns_path}")
    return said("nsenter", *names, f"--ipc={status.ipcns_path}", *command)


def state() -> dict[str, str]:
    """Everything on the machine that a sandbox adds to; of its mounts those of sandboxes, for
    mounts of the host come and go here, too."""
    lines = Path("/proc/thread-self/mountinfo").read_text().splitlines()
    points = [line.split(" ")[4] for line in lines]
    return {
        "links": said("ip", "-br", "link"),
        "routes": said("ip", "route", "show", "table", "all"),
        "mounts": "\n".join(sorted(point for point in points if "/test_" in point)),
    }


async def test_it_has_its_own_name_and_network(machine: Offload, real: NamespaceSandbox) -> None:
    status = await real.create(a_spec())
    assert await machine(inside, status, "hostname") == "web-2"
    addresses = await machine(inside, status, "ip", "-br", "-4", "address")
    assert [line.split()[2] for line in addresses.splitlines()] == ["127.0.0.1/8", "10.42.7.2/32"]
    for name in ("net", "ipc", "uts"):
        link = await machine(inside, status, "readlink", f"/proc/self/ns/{name}")
        assert link != await machine(said, "readlink", f"/proc/self/ns/{name}")


SHM, SYN = "kernel/shm_rmid_forced", "net/ipv4/tcp_syncookies"


async def test_its_sysctls_are_its_own(machine: Offload, real: NamespaceSandbox) -> None:
    def read(path: str, status: SandboxStatus | None = None) -> str:
        command = ("cat", f"/proc/sys/{path}")
        return said(*command) if status is None else inside(status, *command)

    before = [await machine(read, path) for path in (SHM, SYN)]
    changed = [str(1 - min(1, int(value))) for value in before]
    sandbox = await real.create(a_spec(sysctls=dict(zip((SHM, SYN), changed, strict=True))))
    assert [await machine(read, path, sandbox) for path in (SHM, SYN)] == changed
    assert [await machine(read, path) for path in (SHM, SYN)] == before
    on_machine = await real.create(a_spec(3, address="", sysctls={SHM: changed[0]}))
    script = ("nsenter", f"--ipc={on_machine.ipcns_path}", "cat", f"/proc/sys/{SHM}")
    assert await machine(said, *script) == changed[0]


async def test_a_sysctl_that_cannot_be_set_is_said(real: NamespaceSandbox) -> None:
    spec = a_spec(sysctls={SYN: "a quote ' and\n; more"})
    with pytest.raises(SandboxFailed, match=r"[Ii]nvalid argument|I/O error"):
        await real.create(spec)
    with pytest.raises(SandboxFailed, match="no/such"):
        await real.create(a_spec(sysctls={"net/no/such": "1"}))


async def test_its_files_are_there(machine: Offload, real: NamespaceSandbox) -> None:
    directory = Path((await real.create(a_spec(shm_bytes=1 << 20))).directory)
    names = ("hosts", "hostname", "resolv.conf")
    found = [await machine((directory / "etc" / name).read_text) for name in names]
    assert found == ["127.0.0.1 localhost\n", "web-2\n", "nameserver 10.43.0.10\n"]
    size = await machine(said, "findmnt", "-bno", "SIZE,FSTYPE", str(directory / "shm"))
    assert size.split() == [str(1 << 20), "tmpfs"]


async def test_what_containers_may_write_to_never_fills_the_machine(
    machine: Offload, real: NamespaceSandbox
) -> None:
    directory = Path((await real.create(a_spec(shm_bytes=1 << 20))).directory)

    def fill(file: Path) -> int:
        with contextlib.suppress(OSError), file.open("ab") as opened:
            for _ in range(400):
                opened.write(bytes(1 << 20))
                opened.flush()
        return file.stat().st_size

    sizes = [await machine(fill, directory / name) for name in ("etc/hosts", "etc/resolv.conf")]
    assert max(sizes) <= sandboxes.ETC_SPARE_BYTES + 4096
    assert await machine(fill, directory / "shm/file") <= 1 << 20


async def test_no_local_user_gets_at_what_containers_leave_open(
    machine: Offload, real: NamespaceSandbox, tmp_path: Path
) -> None:
    (tmp_path / "sandboxes").mkdir(mode=0o755)
    directory = Path((await real.create(a_spec())).directory)
    mode = (await machine(directory.parent.stat)).st_mode
    assert mode & 0o777 == 0o700


async def test_pods_and_their_node_reach_each_other(
    machine: Offload, real: NamespaceSandbox
) -> None:
    await machine(said, "ip", "address", "add", "10.89.0.11/32", "dev", "lo")
    one, two = await real.create(a_spec(2)), await real.create(a_spec(3))
    ping = ("ping", "-c", "1", "-W", "5")
    if await machine(said, "sh", "-c", "command -v ping || echo none") == "none":
        ping = ("busybox", *ping)
    await machine(inside, one, *ping, "10.42.7.3")
    await machine(inside, two, *ping, "10.89.0.11")
    await machine(said, *ping, "10.42.7.2")
    await machine(inside, one, *ping, "10.42.7.2")


async def test_nothing_is_left(machine: Offload, real: NamespaceSandbox, tmp_path: Path) -> None:
    before = await machine(state)
    made = [await real.create(a_spec(number)) for number in (2, 3, 4)]
    made.append(await real.create(a_spec(5, address="")))
    assert await machine(state) != before
    for status in made:
        await real.remove(status.pod_uid)
    assert await machine(state) == before
    assert list((tmp_path / "sandboxes").iterdir()) == []


@pytest.mark.parametrize("step", range(len(sandboxes.CONNECTED) + 1))
async def test_one_that_was_left_half_made_is_made_whole(
    machine: Offload, real: NamespaceSandbox, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """It ends before each of the steps; `create` repairs, `remove` clears up."""
    before = await machine(state)
    with monkeypatch.context() as patch:
        patch.setattr(sandboxes, "CONNECTED", (*sandboxes.CONNECTED[:step], "exit 1"))
        with pytest.raises(SandboxFailed):
            await real.create(a_spec())
        assert [status.ready for status in await real.list()] == [False]
    status = await real.create(a_spec())
    assert status.ready
    assert await real.list() == [status]
    await real.remove(status.pod_uid)
    assert await machine(state) == before


async def test_on_the_machines_network_the_memory_is_still_its_own(
    machine: Offload, real: NamespaceSandbox
) -> None:
    status = await real.create(a_spec(address=""))
    inner = await machine(said, "nsenter", f"--ipc={status.ipcns_path}", *IPC)
    assert inner != await machine(said, *IPC)
    await machine(said, "umount", status.ipcns_path)
    assert [found.ready for found in await real.list()] == [False]


async def test_one_whose_parts_went_is_not_ready_and_is_made_again(
    machine: Offload, real: NamespaceSandbox
) -> None:
    status = await real.create(a_spec())
    await machine(said, "ip", "link", "delete", link_name(status.pod_uid))
    assert [found.ready for found in await real.list()] == [False]
    assert (await real.create(a_spec())).ready
    await machine(said, "umount", status.netns_path)
    assert [found.ready for found in await real.list()] == [False]
    assert (await real.create(a_spec())).ready


async def test_a_failed_step_is_told_in_its_own_words(real: NamespaceSandbox) -> None:
    with pytest.raises(SandboxFailed, match=r"not-an-address"):
        await real.create(a_spec(address="not-an-address"))
