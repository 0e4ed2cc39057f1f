"""The keys of tokens of service accounts: ECDSA P-256, as ES256 wants it.

They are in one file (PEM). Its first block is the private key that signs; every later one is the
public key of a former one, by which tokens of that time are still checked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from common.security.ca import CertificateError, private_key_pem
from common.security.files import write_private

_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """The key that signs, and the former ones, the latest first."""

    signing: ec.EllipticCurvePrivateKey
    former: tuple[ec.EllipticCurvePublicKey, ...] = ()

    @property
    def public(self) -> tuple[ec.EllipticCurvePublicKey, ...]:
        """All by which tokens are checked, that of the signing one first."""
        return (self.signing.public_key(), *self.former)


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """What a token calls the key that has signed it (`kid`), as Kubernetes does."""
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(info).digest()).rstrip(b"=").decode()


def load_or_create(file: Path) -> AccountKeys:
    """The keys in a file, which is made with a first one. Raises CertificateError.

    A master without the key by which a token was signed refuses it; kubelets get new ones.
    """
    return _read(file) if file.exists() else _write(file, ())


def rotate(file: Path) -> AccountKeys:
    """A new key signs; of the one that did the public half stays. Raises CertificateError."""
    return _write(file, _read(file).public)


def _write(file: Path, former: tuple[ec.EllipticCurvePublicKey, ...]) -> AccountKeys:
    made = AccountKeys(ec.generate_private_key(ec.SECP256R1()), former)
    blocks = [private_key_pem(made.signing)]
    blocks += [key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in former]
    write_private(file, b"".join(blocks))
    return made


def _read(file: Path) -> AccountKeys:
    try:
        blocks = [match[0] for match in _BLOCK.finditer(file.read_bytes())]
        signing = load_pem_private_key(blocks[0] if blocks else b"", None)
        former = [load_pem_public_key(block) for block in blocks[1:]]
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"cannot load the keys in {file}: {error}") from error
    if not isinstance(signing, ec.EllipticCurvePrivateKey) or not _is_p256(signing):
        raise CertificateError(f"{file} begins with no private key of ECDSA P-256")
    checking = [key for key in former if isinstance(key, ec.EllipticCurvePublicKey)]
    if len(checking) < len(former) or not all(map(_is_p256, checking)):
        raise CertificateError(f"{file} has a public key that is not of ECDSA P-256")
    return AccountKeys(signing, tuple(checking))


def _is_p256(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1)
