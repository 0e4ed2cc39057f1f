"""Private files under every umask, and join tokens."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.runtime.rng import SystemRng
from common.security.files import InsecurePath, make_private_directory, write_private
from common.security.tokens import (
    InvalidToken,
    bearer_id,
    hash_bearer,
    new_token,
    parse_token,
    verify_bearer,
)
from tests.fakes.rng import SeededRng

PIN = "sha256:" + "0f" * 32


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.umask(request.param)
    yield
    os.umask(old)


@pytest.mark.usefixtures("umask")
def test_private_files_and_directories(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    make_private_directory(directory)
    make_private_directory(directory)
    file = directory / "key"
    write_private(file, b"1")
    write_private(file, b"22")
    assert file.read_bytes() == b"22" and list(directory.iterdir()) == [file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(one.stat().st_mode) for one in (directory, directory.parent)} == {0o700}


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    write_private(file, b"old")

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_private(file, b"new")
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes into the files of others")
def test_a_file_that_root_replaces_keeps_its_owner(tmp_path: Path) -> None:
    """The master reads the keys that `wherry secret-key rotate` writes."""
    file = tmp_path / "secret.keys"
    write_private(file, b"old")
    os.chown(file, 12345, 54321)
    write_private(file, b"new")
    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o600)
    assert file.read_bytes() == b"new"


def test_open_directories_and_links_are_refused(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir(mode=0o755)
    with pytest.raises(InsecurePath, match="0755"):
        make_private_directory(directory)
    directory.chmod(0o700)
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(InsecurePath):
        make_private_directory(tmp_path / "link")


def test_token_round_trip_and_secrecy() -> None:
    token = new_token(PIN, SystemRng())
    assert parse_token(f" {token.text()}\n") == token
    assert len(token.id) == 6 and len(token.secret) == 26
    assert token.secret not in repr(token) + str(token) + f"{token}"
    assert bearer_id(token.bearer()) == token.id
    stored = hash_bearer(token.bearer())
    assert token.secret not in stored and verify_bearer(token.bearer(), stored)
    assert not verify_bearer(new_token(PIN, SystemRng()).bearer(), stored)
    assert not verify_bearer("", stored)
    assert not verify_bearer("é", stored)
    assert new_token(PIN, SeededRng(1)) != new_token(PIN, SeededRng(2))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.split("::")[1],
        lambda text: "W2" + text[2:],
        lambda text: text[:-1],
        lambda text: text + "a",
        lambda text: text.replace(".", ":"),
        lambda text: text.upper(),
        lambda text: "",
    ],
)
def test_anything_else_is_no_token_and_is_not_repeated(change: object) -> None:
    token = new_token(PIN, SeededRng())
    with pytest.raises(InvalidToken) as caught:
        parse_token(change(token.text()))  # type: ignore[operator]
    assert token.secret not in str(caught.value)
    with pytest.raises(InvalidToken):
        bearer_id(token.bearer() + "x")
