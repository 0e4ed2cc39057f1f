"""Authorities and what they have signed, where a step or a renewal does not come to its end."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from common.security.validity import validity
from master.config import MasterConfig
from master.pki import authority, pki
from master.pki.pki import Pki
from master.pki.rotation import Rotation
from tests.fakes.clock import FakeClock


class FullDisk:
    """Writes, until so many have been made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: float = float("inf")
        self._write = authority.write_private
        for module in (authority, pki):
            monkeypatch.setattr(module, "write_private", self.write)

    def write(self, path: Path, data: bytes) -> None:
        if self.left < 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= 1
        self._write(path, data)


class World:
    """A master's certificates, and a rotation that waits for nobody."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.config = MasterConfig(data_dir=str(directory), advertise_address="10.0.0.1")
        self.start()

    def start(self) -> None:
        """Also after a crash."""
        self.pki = Pki(self.config, self.clock)
        self.rotation = Rotation(self.pki, dict, tuple)

    def take_steps(self) -> None:
        """As `wherry ca rotate` does."""
        step = ""
        while step != "finish":
            step = str(self.rotation.state()["next"])
            self.rotation.step(step, force=False)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def disk(world: World, monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


@pytest.mark.parametrize("writes", range(3))
async def test_a_renewal_that_the_disk_is_too_full_for_is_due_until_it_is_done(
    world: World, disk: FullDisk, writes: int
) -> None:
    told: list[bytes] = []
    world.pki.watch(lambda: told.append(world.pki.serving.certificate_pem))
    renewable = world.pki.renewable()
    life = validity(world.pki.serving.certificate_pem)
    assert world.clock.now() < renewable.at() == life.renew
    await world.clock.advance((life.renew - world.clock.now()).total_seconds())
    disk.left = writes
    with pytest.raises(OSError, match="No space"):
        await renewable.renew()
    assert told == []
    assert renewable.at() <= world.clock.now()
    disk.left = float("inf")
    await renewable.renew()
    assert len(told) == 1
    assert renewable.at() > world.clock.now()
