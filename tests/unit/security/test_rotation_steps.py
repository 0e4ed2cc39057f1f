"""Authorities and what they have signed, where a step or a renewal does not come to its end."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from common.security.validity import validity
from master.config import MasterConfig
from master.pki import authority, pki
from master.pki.authority import Stage
from master.pki.pki import Pki
from master.pki.rotation import Rotation
from tests.fakes.clock import FakeClock

DAY_SECONDS = 86400.0


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


@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize("writes", range(11))
@pytest.mark.parametrize("before", [(), ("begin",), ("begin", "switch")])
def test_both_authorities_are_replaced_wherever_a_rotation_was_interrupted(
    world: World, disk: FullDisk, before: tuple[str, ...], writes: int, crash: bool
) -> None:
    authorities = (world.pki.server_ca, world.pki.client_ca)
    former = [one.signer.certificate_pem for one in authorities]
    for step in before:
        world.rotation.step(step, force=False)
    disk.left = writes
    try:
        world.rotation.step(str(world.rotation.state()["next"]), force=False)
    except OSError:
        pass
    else:
        assert writes >= 3, "a step writes"
    disk.left = float("inf")
    if crash:
        world.start()
    if world.pki.server_ca.stage is not Stage.STEADY or not before:
        world.take_steps()
    for was, one in zip(former, (world.pki.server_ca, world.pki.client_ca), strict=True):
        assert one.stage is Stage.STEADY
        assert one.signer.certificate_pem != was
        assert one.trusted == one.signer.certificate_pem


async def test_certificates_of_a_clock_that_was_ahead_are_renewed_once_it_is_right(
    world: World,
) -> None:
    renewable = world.pki.renewable()
    await world.clock.advance(40 * DAY_SECONDS)
    await renewable.renew()
    world.clock.set_back(39 * DAY_SECONDS)
    assert renewable.is_due(world.clock.now())
    await renewable.renew()
    life = validity(world.pki.serving.certificate_pem)
    assert life.issued <= world.clock.now() < life.renew


async def test_with_a_clock_from_before_the_authority_nothing_is_renewed(world: World) -> None:
    """What would be issued would not count either, and others have the right time."""
    world.clock.set_back(40 * DAY_SECONDS)
    assert not world.pki.renewable().is_due(world.clock.now())


@pytest.mark.parametrize("writes", range(3))
async def test_a_renewal_that_the_disk_is_too_full_for_is_due_until_it_is_done(
    world: World, disk: FullDisk, writes: int
) -> None:
    told: list[bytes] = []
    world.pki.watch(lambda: told.append(world.pki.serving.certificate_pem))
    renewable = world.pki.renewable()
    life = validity(world.pki.serving.certificate_pem)
    assert not renewable.is_due(world.clock.now())
    await world.clock.advance((life.renew - world.clock.now()).total_seconds())
    disk.left = writes
    with pytest.raises(OSError, match="No space"):
        await renewable.renew()
    assert told == []
    assert renewable.is_due(world.clock.now())
    disk.left = float("inf")
    await renewable.renew()
    assert len(told) == 1
    assert not renewable.is_due(world.clock.now())


def test_ciphers_do_not_depend_on_what_python_was_built_with(world: World) -> None:
    """Debian's offers all that OpenSSL has; with TLS 1.2 these need forward secrecy and AEAD."""
    ciphers = world.pki.tls_context().get_ciphers()
    before = [one["name"] for one in ciphers if one["protocol"] != "TLSv1.3"]
    assert before
    assert all(name.startswith("ECDHE-") for name in before)
    assert all("GCM" in name or "CHACHA20" in name for name in before)
