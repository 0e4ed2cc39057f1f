"""The key of service accounts' tokens: made once, and nobody else's to read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.security.ca import CertificateError, private_key_pem
from master.pki.accountkey import load_or_create


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "service-accounts.key"
    made = load_or_create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert private_key_pem(load_or_create(file)) == private_key_pem(made)


def test_another_kind_of_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "service-accounts.key"
    other = private_key_pem(ec.generate_private_key(ec.SECP384R1()))
    for content, why in ((b"nonsense", "cannot load the key"), (other, "no private key of ECDSA")):
        file.write_bytes(content)
        with pytest.raises(CertificateError, match=why):
            load_or_create(file)
