"""The machines of `tests/machines/vm`, as tests use them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

VM = Path(__file__).with_name("vm")
NAMES = ("m1", "n1", "n2", "n3")
_PROGRAMS = ("podman", "runc", "conmon", "mmdebstrap", "ip", "ssh", "scp", "ssh-keygen", "nsenter")

# What an uninstall must bring back; what Podman and systemd write by themselves is left out.
TRACES = r"""
cat /proc/sys/net/ipv4/ip_forward
systemctl show --property Id,LoadState,ActiveState,UnitFileState etcd.service podman.socket
systemctl list-unit-files --no-legend 'wherry*'; systemctl --failed --no-legend
nft list tables; ip -o link | cut -d: -f2 | cut -d@ -f1; ip route; ip rule
find /etc /usr/local /opt -xdev ! -path '/etc/cni*' ! -path '/etc/containers/networks*' \
    ! -name '*~' -printf '%p %M %u %l\n' | sort
cut -d: -f1 /etc/passwd; findmnt -rno TARGET | grep wherry
"""


class Machines:
    """One set of machines; names that differ keep sets apart.

    Every call fails the test, with what was printed, when it does not succeed.
    """

    def __init__(self, name: str) -> None:
        self.env = os.environ | {"WHERRY_MACHINES_NAME": name}
        root = Path(self.env.get("WHERRY_MACHINES", "/var/tmp/wherry-machines"))
        self.state = root / name

    def vm(
        self,
        *arguments: str,
        input: str | None = None,
        check: bool = True,
        timeout_seconds: float = 300,
    ) -> str:
        """Run a verb of `vm`; what it prints. One that may fail answers what it complains, too."""
        done = subprocess.run(
            [str(VM), *arguments],
            env=self.env,
            input=input or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if check else subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
        )
        assert done.returncode == 0 or not check, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def up(self, *names: str) -> None:
        """Make and start these machines, or all; the images are built when there are none."""
        self.vm("up", *names, timeout_seconds=900)

    def run(
        self,
        name: str,
        command: str,
        *,
        input: str | None = None,
        check: bool = True,
        timeout_seconds: float = 120,
    ) -> str:
        """What a shell command prints on a machine, as root; without `check`, its errors, too."""
        shell = ("shell", name, "bash", "-c", command)
        return self.vm(*shell, input=input, check=check, timeout_seconds=timeout_seconds)

    def put(self, name: str, local: Path, remote: str) -> None:
        """Copy a file, or a directory with all that is in it, to a machine."""
        self.inside(*self._scp, str(local), f"{name}:{remote}")

    def get(self, name: str, remote: str, local: Path) -> None:
        """Copy a file, or a directory with all that is in it, from a machine."""
        self.inside(*self._scp, f"{name}:{remote}", str(local))

    def inside(self, *command: str, timeout_seconds: float = 300) -> str:
        """What a command of the host prints on the machines' LAN."""
        return self.vm("inside", *command, timeout_seconds=timeout_seconds)

    def inventory(self) -> str:
        """The machines for Ansible, which finds them when it is run `inside`."""
        return self.vm("inventory")

    def off(self, name: str) -> None:
        """Cut a machine's power."""
        self.vm("off", name)

    def on(self, name: str) -> None:
        """Power on; the machine has booted when this returns."""
        self.vm("on", name)

    def reboot(self, name: str) -> None:
        """Shut a machine down from inside and turn it on; it has booted when this returns."""
        self.vm("reboot", name)

    def cut(self, name: str) -> None:
        """Pull a machine's network cable."""
        self.vm("cut", name)

    def heal(self, name: str) -> None:
        """Plug it in again."""
        self.vm("heal", name)

    def down(self) -> None:
        """Remove all machines; fails when something of them is left."""
        self.vm("down")

    @property
    def _scp(self) -> Sequence[str]:
        return ("scp", "-F", str(self.state / "ssh_config"), "-qrp")


def missing() -> list[str]:
    """What the machines need and this host lacks."""
    lacking = [name for name in _PROGRAMS if shutil.which(name) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "root"]
