"""Joining: the pin is checked before anything is said, and files are private."""

import errno
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority
from common.security.identity import identity_from_pem
from node.session import credentials, join
from node.session.join import JoinFailed, Machine
from tests.fakes.peers.joining import Master


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    made = Master(tmp_path)
    yield made
    made.stop()


def joined(master: Master, tmp_path: Path, token: str | None = None) -> credentials.Credentials:
    """Join as node1."""
    file = tmp_path / "token"
    file.write_text(master.token.text() + "\n" if token is None else token)
    join.join(tmp_path / "pki", master.url, str(file), Machine("node1", "m"), lambda: None)
    made = credentials.load(tmp_path / "pki")
    assert made is not None
    return made


def test_a_node_joins_and_keeps_its_certificate(master: Master, tmp_path: Path) -> None:
    made = joined(master, tmp_path)
    assert identity_from_pem(made.certificate).user == "system:node:node1"
    assert made.ca == master.authority.certificate_pem
    assert made.node_port == 7444
    assert set(master.secrets_heard()) == {f"Bearer {master.token.bearer()}"}


@pytest.mark.parametrize("ports", [{}, {"certificates": 0}, {"certificates": "7444"}])
def test_a_master_that_names_no_port_has_the_default(
    master: Master, tmp_path: Path, ports: dict[str, Any]
) -> None:
    master.ports = ports
    assert joined(master, tmp_path).node_port == 6444


def test_key_and_certificate_are_private(master: Master, tmp_path: Path) -> None:
    joined(master, tmp_path)
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
    for file in (tmp_path / "pki").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_who_could_not_keep_the_certificate_does_not_ask_for_it(
    master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It would take a use of the token."""

    def full(path: Path, data: bytes) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(join, "write_private", full)
    why = re.escape(f"{tmp_path / 'pki'}: {os.strerror(code).lower()}")
    with pytest.raises(join.NotNow, match=f"cannot store a certificate in {why}"):
        joined(master, tmp_path)
    assert [method for method, _, _ in master.requests] == ["GET"]
    monkeypatch.undo()
    joined(master, tmp_path)


def test_another_authority_is_told_nothing(master: Master, tmp_path: Path) -> None:
    stranger = CertificateAuthority.create("stranger", SystemClock())
    master.cacerts = stranger.certificate_pem
    with pytest.raises(JoinFailed, match="not the one that the token names"):
        joined(master, tmp_path)
    assert master.secrets_heard() == []


@pytest.mark.parametrize("own_first", [False, True])
def test_a_second_authority_beside_the_right_one_is_not_trusted(
    master: Master, tmp_path: Path, own_first: bool
) -> None:
    """An impostor knows the true authority: it is public. It must gain nothing by showing it."""
    impostor = CertificateAuthority.create("impostor", SystemClock())
    both = [master.authority.certificate_pem, impostor.certificate_pem]
    master.cacerts = b"".join(reversed(both) if own_first else both)
    master.become(impostor)
    with pytest.raises(JoinFailed):
        joined(master, tmp_path)
    assert master.secrets_heard() == []


def test_a_trusted_certificate_in_openssls_own_form_is_not_trusted(
    master: Master, tmp_path: Path
) -> None:
    impostor = CertificateAuthority.create("impostor", SystemClock())
    disguised = impostor.certificate_pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE")
    master.cacerts = master.authority.certificate_pem + disguised
    master.become(impostor)
    with pytest.raises(JoinFailed):
        joined(master, tmp_path)
    assert master.secrets_heard() == []


def test_the_right_authority_with_a_wrong_serving_certificate_is_told_nothing(
    master: Master, tmp_path: Path
) -> None:
    master.become(CertificateAuthority.create("impostor", SystemClock()))
    with pytest.raises(JoinFailed, match="its certificate is not trusted"):
        joined(master, tmp_path)
    assert master.secrets_heard() == []


def test_a_refusal_is_passed_on(master: Master, tmp_path: Path) -> None:
    master.denied = "the token has expired"
    with pytest.raises(JoinFailed, match="the token has expired"):
        joined(master, tmp_path)
    assert not (tmp_path / "pki" / "node.pem").exists()


def test_a_master_that_never_signs_is_given_up(master: Master, tmp_path: Path) -> None:
    master.polls_before_signing = 10**6
    with pytest.raises(JoinFailed, match="not signed the certificate in time"):
        joined(master, tmp_path)
    assert credentials.load(tmp_path / "pki") is None


@pytest.mark.parametrize("token", ["", "nonsense", "W1abc::x.y"])
def test_what_is_no_token_is_refused_before_anything_is_asked(
    master: Master, tmp_path: Path, token: str
) -> None:
    with pytest.raises(JoinFailed, match="a join token has the form"):
        joined(master, tmp_path, token)
    assert master.requests == []


def test_without_a_token_the_operator_is_told(tmp_path: Path) -> None:
    with pytest.raises(JoinFailed, match="--token-file is needed"):
        join.join(tmp_path / "pki", "https://127.0.0.1:1", "", Machine("node1", "m"), lambda: None)


def test_a_master_that_is_away_is_named(master: Master, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(master.token.text())
    with pytest.raises(JoinFailed, match=r"cannot reach 127\.0\.0\.1:1: connection refused"):
        join.join(
            tmp_path / "pki",
            "https://127.0.0.1:1",
            str(tmp_path / "token"),
            Machine("node1", "m"),
            lambda: None,
        )


def renewed(master: Master, tmp_path: Path) -> credentials.Credentials:
    """Renew as node1."""
    master.polls_before_signing = 1
    join.renew(tmp_path / "pki", master.url, Machine("node1", "m"), lambda: None)
    made = credentials.load(tmp_path / "pki")
    assert made is not None
    return made


def test_a_certificate_is_renewed_with_a_new_key_and_no_token(
    master: Master, tmp_path: Path
) -> None:
    first = joined(master, tmp_path)
    assert first.renew < first.expires
    del master.requests[:]
    second = renewed(master, tmp_path)
    assert second.key != first.key
    assert (
        identity_from_pem(second.certificate).serial != identity_from_pem(first.certificate).serial
    )
    assert master.secrets_heard() == []


def test_authorities_that_are_added_are_trusted_from_the_next_renewal_on(
    master: Master, tmp_path: Path
) -> None:
    joined(master, tmp_path)
    following = CertificateAuthority.create("wherry", SystemClock())
    master.cacerts += following.certificate_pem
    assert renewed(master, tmp_path).ca == master.cacerts
    master.become(following)
    renewed(master, tmp_path)


def test_nothing_changes_when_a_renewal_fails(master: Master, tmp_path: Path) -> None:
    first = joined(master, tmp_path)
    master.denied = "no"
    with pytest.raises(JoinFailed, match="the master refused: no"):
        renewed(master, tmp_path)
    assert credentials.load(tmp_path / "pki") == first


def test_a_node_of_before_has_its_certificate_in_two_files(master: Master, tmp_path: Path) -> None:
    first = joined(master, tmp_path)
    (tmp_path / "pki" / "node.pem").unlink()
    (tmp_path / "pki" / "node.crt").write_bytes(first.certificate)
    (tmp_path / "pki" / "node.key").write_bytes(first.key)
    found = credentials.load(tmp_path / "pki")
    assert found is not None
    assert (found.certificate, found.key) == (first.certificate, first.key)
    assert found.renew < SystemClock().now() < found.expires, "it is renewed at once"
    second = renewed(master, tmp_path)
    assert second.key != first.key
    assert not (tmp_path / "pki" / "node.key").exists()


@pytest.mark.parametrize("text", ["", "junk", "-----BEGIN CERTIFICATE-----\n"])
def test_a_file_that_is_broken_is_named(master: Master, tmp_path: Path, text: str) -> None:
    joined(master, tmp_path)
    (tmp_path / "pki" / "node.pem").write_text(text)
    with pytest.raises(ValueError, match=r"node\.pem does not hold a certificate"):
        credentials.load(tmp_path / "pki")


def test_a_node_that_has_joined_loads_no_cryptography() -> None:
    """It would take 10 MiB of memory, for something that a node does once."""
    program = "import sys, node.__main__; sys.exit('cryptography' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
