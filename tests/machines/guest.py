"""A QEMU guest, as tests use it: Debian 12 as it is installed, with a kernel and a disk of its own.

It is computed, not virtualised (TCG; where these tests run, guests hang under KVM), so it takes a
minute and more to boot, and ten times longer than its host for everything else. Its network leads
nowhere; the host reaches some of its ports on loopback.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

IMAGE = Path(__file__).parent / "lib/guest.sh"
ADDRESS = "10.0.2.15"
_PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs", "ssh", "scp", "ssh-keygen", "setpriv")
_SSH_PORT = 22
_BOOT_SECONDS = 900.0
_DOWN_SECONDS = 200.0
_DOWN = "reboot: Restarting system"
_SERIAL_LINES = 40
_SSH = (
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=30"),
)


class Guest:
    """One guest, whose disk and log are in a directory.

    Every call fails the test, with what was printed, when it does not succeed.
    """

    def __init__(self, place: Path, ports: Iterable[int]) -> None:
        self.place = place
        self.ports = {port: _free_port() for port in (_SSH_PORT, *ports)}
        """Of the guest, and where each is on the host's loopback."""
        self._qemu: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """A new disk; what it is copied from, and QEMU, come to this host when they are missing."""
        done = subprocess.run(
            [str(IMAGE), str(self.place)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, done.stdout

    def on(self) -> None:
        """Power on; the guest has booted when this returns."""
        assert self._qemu is None
        with (self.place / "qemu.log").open("ab") as log:
            self._qemu = subprocess.Popen(self._command(), stdout=log, stderr=log)
        self._until(self._is_up, "boot", _BOOT_SECONDS)

    def cut_power(self) -> None:
        """Nothing that is not on the disk yet comes to it: the guest's page cache is gone."""
        assert self._qemu is not None
        self._qemu.send_signal(signal.SIGKILL)
        self._qemu.wait()
        self._qemu = None

    def reboot(self) -> float:
        """Have systemd reboot it, in the same QEMU; the seconds until all was down."""
        was, downs = self.boot_id(), self._serial().count(_DOWN)
        start = time.monotonic()
        self.run("systemctl reboot", check=False)
        self._until(lambda: self._serial().count(_DOWN) > downs, "shut down", _DOWN_SECONDS)
        took = time.monotonic() - start
        self._until(self._is_up, "boot", _BOOT_SECONDS)
        assert self.boot_id() != was
        return took

    def down(self) -> None:
        """End it, if it is on, and remove its disk."""
        if self._qemu is not None:
            self.cut_power()
        shutil.rmtree(self.place, ignore_errors=True)

    def boot_id(self) -> str:
        """What the kernel calls this boot."""
        return self.run("cat /proc/sys/kernel/random/boot_id")

    def run(
        self,
        command: str,
        *,
        input: str | None = None,
        check: bool = True,
        timeout_seconds: float = 300,
    ) -> str:
        """What a shell command prints, as root; without `check`, its errors, too."""
        done = subprocess.run(
            ["ssh", *self._options("-p"), "root@127.0.0.1", command],
            input=input or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if check else subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def put(self, local: Path, remote: str) -> None:
        """Copy a file to it."""
        copy = ["scp", "-qp", *self._options("-P"), str(local), f"root@127.0.0.1:{remote}"]
        done = subprocess.run(copy, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr

    def _command(self) -> list[str]:
        forwards = (f"hostfwd=tcp:127.0.0.1:{host}-:{port}" for port, host in self.ports.items())
        network = ",".join(("user", "id=lan", "restrict=on", *forwards))
        return [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2G"),
            *("-kernel", str(self.place / "vmlinuz"), "-initrd", str(self.place / "initrd")),
            *("-append", "root=/dev/vda ro console=ttyS0"),
            *("-drive", f"file={self.place / 'disk'},format=raw,if=virtio"),
            *("-netdev", network, "-device", "virtio-net-pci,netdev=lan"),
            *("-chardev", f"file,id=serial,path={self.place / 'serial.log'},append=on"),
            *("-serial", "chardev:serial"),
        ]

    def _options(self, port: str) -> tuple[str, ...]:
        """ssh's and scp's, which name the port differently."""
        return (*_SSH, "-i", str(self.place / "key"), port, str(self.ports[_SSH_PORT]))

    def _is_up(self) -> bool:
        """Whether systemd has started, or given up, everything; waits for it if ssh answers."""
        try:
            said = self.run("systemctl is-system-running --wait", check=False)
        except subprocess.TimeoutExpired:
            return False
        return said.strip() in ("running", "degraded")

    def _until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._qemu is not None
            assert self._qemu.poll() is None, (self.place / "qemu.log").read_text()
            assert time.monotonic() < deadline, f"the guest does not {what}:\n{self._serial_tail()}"
            time.sleep(1)

    def _serial(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.place / "serial.log").read_text(errors="replace")
        return ""

    def _serial_tail(self) -> str:
        return "\n".join(self._serial().splitlines()[-_SERIAL_LINES:])


def missing() -> list[str]:
    """What a guest needs and this host neither has nor can install."""
    if os.geteuid() != 0:
        return ["root"]
    if shutil.which("apt-get") is not None:
        return []
    return [name for name in _PROGRAMS if shutil.which(name) is None]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
