"""A machine for the installer: files below a directory, and a systemd that does what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.machine.steps import Executor, StepFailed
from deploy.machine.wanted import SYSTEMD


class FakeMachine(Executor):
    """Carries steps out below a root, and programs on a few facts; `told` lists the programs."""

    def __init__(self, root: Path, **enabled: str) -> None:
        super().__init__(root)
        self.told: list[str] = []
        self.enabled = {f"{name}.{kind}": e for name, e in enabled.items() for kind in ("service",)}
        self.active: set[str] = set()
        self.users: set[str] = set()
        self.refused = ""
        """A program that fails."""

    def run(self, command: Sequence[str], text: str = "") -> str:
        """What the program prints."""
        line = " ".join(command)
        if command[:2] == ["systemctl", "show"]:
            return "\n".join(self._shown(unit) for unit in command[4:])
        if line == self.refused:
            raise StepFailed(f"{line}: refused")
        if command[0] == "systemctl":
            self._systemctl([word for word in command[1:] if not word.startswith("--no-block")])
            self.told.append(line)
        elif command[0] == "useradd":
            self.users.add(command[-1])
        elif command[0] == "userdel":
            self.users.remove(command[-1])
        elif not line.startswith(("podman ps", "ip route show", "nft list")):
            self.told.append(line)
        return ""

    def _systemctl(self, words: list[str]) -> None:
        match words:
            case ["enable", unit]:
                self.enabled[unit] = "enabled"
            case ["disable", "--now", unit]:
                self.enabled[unit] = "disabled"
                self.active.discard(unit)
            case ["disable", unit]:
                self.enabled[unit] = "disabled"
            case ["start" | "restart", unit]:
                self.active.add(unit)
            case ["stop", unit]:
                self.active.discard(unit)
            case ["mask", unit]:
                self.enabled[unit] = "masked"
            case ["unmask", unit]:
                self.enabled[unit] = "enabled"

    def _shown(self, unit: str) -> str:
        is_there = unit in self.enabled or self.place(f"{SYSTEMD}/{unit}").exists()
        ours = unit.startswith("wherry-") and not self.place(f"{SYSTEMD}/{unit}").exists()
        load = "loaded" if is_there and not ours else "not-found"
        active = "active" if unit in self.active else "inactive"
        enabled = self.enabled.get(unit, "disabled") if load == "loaded" else ""
        return f"Id={unit}\nLoadState={load}\nActiveState={active}\nUnitFileState={enabled}\n"
