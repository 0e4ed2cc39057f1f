"""ansible-playbook on the machines, as an admin would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.machines.machines import Machines

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = ROOT / "deploy" / "ansible"
PROGRAM = Path(sys.executable).with_name("ansible-playbook")


class Playbooks:
    """The playbooks of this checkout, with an inventory of the machines and a bundle."""

    def __init__(self, machines: Machines, bundle: Path, directory: Path) -> None:
        self.machines = machines
        self.inventory = directory / "inventory.ini"
        self.inventory.write_text(machines.inventory())
        self.bundle = bundle
        self._settings = (
            f"ANSIBLE_CONFIG={PLAYBOOKS}/ansible.cfg",
            f"ANSIBLE_HOME={directory}/ansible",
            "ANSIBLE_NOCOLOR=1",
        )

    def run(self, name: str, *arguments: str, check: bool = True) -> str:
        """What a playbook prints, its errors too; unless `check`, it may fail."""
        variables = ("-e", f"wherry_bundle={self.bundle}")
        inventory = () if "-i" in arguments else ("-i", str(self.inventory))
        command = (str(PROGRAM), *inventory, *variables, *arguments, str(PLAYBOOKS / name))
        said = self.machines.vm(
            "inside", "env", *self._settings, *command, check=False, timeout_seconds=600
        )
        assert not check or is_success(said), said[-10_000:]
        return said


def is_success(said: str) -> bool:
    """Whether every machine was reached and no task has failed."""
    recap = re.findall(r"unreachable=(\d+)\s+failed=(\d+)", said)
    return bool(recap) and all(each == ("0", "0") for each in recap)


def changed(said: str) -> dict[str, int]:
    """How many tasks have changed each machine."""
    return {
        name: int(n) for name, n in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", said, re.M)
    }


def files_of_checkout(*names: str) -> bytes:
    """Tracked files of this checkout, as tar has them."""
    listed = subprocess.check_output(["git", "ls-files", "-z", *names], cwd=ROOT)
    command = ["tar", "--null", "-T", "-", "-cf", "-"]
    return subprocess.run(
        command, cwd=ROOT, input=listed, stdout=subprocess.PIPE, check=True
    ).stdout
