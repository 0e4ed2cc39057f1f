"""The keys of service accounts' tokens: nobody else's to read, and followed by others."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.security.accountkeys import key_id, load_or_create, rotate
from common.security.ca import CertificateError, private_key_pem


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "service-accounts.key"
    made = load_or_create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = load_or_create(file)
    assert (again.public, again.former) == (made.public, ())
    assert private_key_pem(again.signing) == private_key_pem(made.signing)


def test_of_former_keys_the_public_half_stays(tmp_path: Path) -> None:
    file = tmp_path / "service-accounts.key"
    first = load_or_create(file)
    second, third = rotate(file), rotate(file)
    assert third.former == (*second.public[:1], *first.public)
    assert len({key_id(key) for key in third.public}) == 3
    assert load_or_create(file).public == third.public
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_bytes()
    assert text.startswith(private_key_pem(third.signing))
    assert text.count(b"PRIVATE KEY-----") == 2
    file.write_bytes(text[: text.rindex(b"-----BEGIN PUBLIC KEY-----")])
    assert load_or_create(file).public == third.public[:2], "the last one was dropped by hand"


def pem_of(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


OTHER = ec.generate_private_key(ec.SECP384R1())
GOOD = private_key_pem(ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot load the keys"),
        (b"nonsense", "cannot load the keys"),
        (GOOD[:-40], "cannot load the keys"),
        (GOOD + GOOD, "cannot load the keys"),
        (private_key_pem(OTHER), "begins with no private key of ECDSA P-256"),
        (pem_of(OTHER.public_key()) + GOOD, "cannot load the keys"),
        (GOOD + pem_of(OTHER.public_key()), "public key that is not of ECDSA P-256"),
        (
            GOOD + pem_of(ed25519.Ed25519PrivateKey.generate().public_key()),
            "public key that is not of ECDSA P-256",
        ),
    ],
)
def test_other_kinds_of_keys_are_named(tmp_path: Path, content: bytes, why: str) -> None:
    """And a rotation leaves the file as it is."""
    file = tmp_path / "service-accounts.key"
    file.write_bytes(content)
    for read in (load_or_create, rotate):
        with pytest.raises(CertificateError, match=why):
            read(file)
    assert file.read_bytes() == content
