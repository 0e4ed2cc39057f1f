"""What is sealed can be opened with its key, in its place, and in no other way."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from common.runtime.rng import SystemRng
from common.security.keyring import Keyring, KeyringError, load_or_create, rotate

PLACE = "/wherry/registry/secrets/default/a"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return load_or_create(tmp_path / "keys", SystemRng())


def test_there_and_back(keyring: Keyring) -> None:
    for data in (b"", b"canary", b"x" * 100_000):
        sealed = keyring.seal(PLACE, data)
        assert b"canary" not in sealed
        assert keyring.open(PLACE, sealed) == data
    assert keyring.seal(PLACE, b"a") != keyring.seal(PLACE, b"a")


def test_what_was_never_sealed_is_as_it_is(keyring: Keyring) -> None:
    assert keyring.open(PLACE, b'{"kind":"Secret"}') == b'{"kind":"Secret"}'


def test_a_value_cannot_be_moved(keyring: Keyring) -> None:
    with pytest.raises(KeyringError, match="was changed, moved"):
        keyring.open(PLACE + "b", keyring.seal(PLACE, b"canary"))


def test_every_byte_counts(keyring: Keyring) -> None:
    sealed = keyring.seal(PLACE, b"canary")
    start = sealed.index(b":", 12) + 1
    for at in range(start, len(sealed)):
        damaged = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(KeyringError):
            keyring.open(PLACE, damaged)
    for length in range(start, len(sealed)):
        with pytest.raises(KeyringError):
            keyring.open(PLACE, sealed[:length])


def test_another_key_opens_nothing(keyring: Keyring, tmp_path: Path) -> None:
    other = load_or_create(tmp_path / "other", SystemRng())
    with pytest.raises(KeyringError, match="which is not there"):
        other.open(PLACE, keyring.seal(PLACE, b"canary"))
    renamed = Keyring({keyring.current: other.keys[other.current]}, SystemRng())
    with pytest.raises(KeyringError, match="another key"):
        renamed.open(PLACE, keyring.seal(PLACE, b"canary"))


def test_keys_are_rotated(keyring: Keyring, tmp_path: Path) -> None:
    sealed = keyring.seal(PLACE, b"canary")
    newer = rotate(tmp_path / "keys", SystemRng())
    assert newer.current != keyring.current
    assert newer.open(PLACE, sealed) == b"canary"
    assert newer.key_id(newer.seal(PLACE, b"")) == newer.current
    assert load_or_create(tmp_path / "keys", SystemRng()).keys == newer.keys
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "abc", "abcdefgh AAAA\n", "abcdefgh !\n", "\n", "é 1\n"])
def test_a_file_that_has_no_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(KeyringError):
        load_or_create(tmp_path / "keys", SystemRng())
