"""Whether a certificate and a private key, as users give them, belong together."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def problem(certificate_pem: bytes, key_pem: bytes) -> str:
    """What is wrong with the pair, in the words of Go's crypto/tls; empty when nothing is.

    The key is read, not proven: to look for the factors of a large one would take seconds.
    """
    for what, pem in (("certificate", certificate_pem), ("key", key_pem)):
        if b"-----BEGIN " not in pem:
            return f"tls: failed to find any PEM data in {what} input"
    try:
        public = x509.load_pem_x509_certificate(certificate_pem).public_key()
    except _UNREADABLE as error:
        return f"x509: malformed certificate: {error}"
    try:
        key = load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
    except _UNREADABLE:
        return "tls: failed to parse private key"
    return "" if key.public_key() == public else "tls: private key does not match public key"
