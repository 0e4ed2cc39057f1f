"""The key that signs the tokens of service accounts: ECDSA P-256, as ES256 wants it."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from common.security.ca import CertificateError, private_key_pem
from common.security.files import write_private


def load_or_create(file: Path) -> ec.EllipticCurvePrivateKey:
    """The key in a file (PEM), which is made at the first start. Raises CertificateError.

    A master with another key refuses every token that was issued before; kubelets get new ones.
    """
    if not file.exists():
        write_private(file, private_key_pem(ec.generate_private_key(ec.SECP256R1())))
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"cannot load the key in {file}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError(f"{file} holds no private key of ECDSA P-256")
    return key
