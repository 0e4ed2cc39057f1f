"""Who a client certificate speaks for: its common name is the user, its organizations the groups.

Always read from the certificate itself. A subject rendered as text is ambiguous: names may
contain commas, slashes and equal signs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from common.security.ca import CertificateError, issuer_of, serial_text

KNOWN_MAX = 4096
"""Certificates that are remembered: each call of gRPC shows one, and to read it takes as long as
all else that is done before the call."""


class BoundObject(NamedTuple):
    """An object without which a token does not count."""

    plural: str
    namespace: str
    name: str
    uid: str
    digest: bytes = b""
    """SHA-256 of the token that a Secret must hold: then that counts, and not its uid."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and its groups, as RBAC knows them."""

    user: str
    groups: tuple[str, ...] = ()
    serial: str = field(default="", compare=False)
    """The number of the certificate that says so, in hex; empty when it was something else."""
    expires: float = field(default=math.inf, compare=False)
    """When the certificate or the token does, in seconds since 1970."""
    authority: str = field(default="", compare=False)
    """The key id of the authority that has signed it, in hex; empty when it does not say."""
    uid: str = field(default="", compare=False)
    """Of a service account, which is a user of its own each time that it is made."""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """What else is known of a user."""
    bound: tuple[BoundObject, ...] = field(default=(), compare=False)
    """What the token of a service account is bound to; empty for everybody else."""


@lru_cache(KNOWN_MAX)
def identity_from_der(certificate: bytes) -> Identity:
    """The identity in a verified certificate (DER). Raises CertificateError."""
    try:
        return identity_of(x509.load_der_x509_certificate(certificate))
    except ValueError as error:
        raise CertificateError(f"not a certificate: {error}") from error


@lru_cache(KNOWN_MAX)
def identity_from_pem(certificate: bytes) -> Identity:
    """The identity in a verified certificate (PEM). Raises CertificateError."""
    try:
        return identity_of(x509.load_pem_x509_certificate(certificate))
    except ValueError as error:
        raise CertificateError(f"not a certificate: {error}") from error


def identity_of(certificate: x509.Certificate) -> Identity:
    """The identity in a parsed certificate: exactly one common name, any number of groups."""
    names = subject_values(certificate.subject, NameOID.COMMON_NAME)
    if len(names) != 1 or not names[0]:
        raise CertificateError("a client certificate needs exactly one common name")
    groups = dict.fromkeys(subject_values(certificate.subject, NameOID.ORGANIZATION_NAME))
    expires = certificate.not_valid_after_utc.timestamp()
    signer = issuer_of(certificate)
    return Identity(names[0], tuple(groups), serial_text(certificate), expires, signer)


def subject_values_of(request: x509.CertificateSigningRequest) -> tuple[list[str], list[str]]:
    """The common names and the organizations that a request asks for. Raises CertificateError."""
    users = subject_values(request.subject, NameOID.COMMON_NAME)
    return users, subject_values(request.subject, NameOID.ORGANIZATION_NAME)


def subject_values(subject: x509.Name, oid: x509.ObjectIdentifier) -> list[str]:
    """All values of one attribute, in order. Raises CertificateError for one that is no text."""
    values: list[str] = []
    for attribute in subject.get_attributes_for_oid(oid):
        if not isinstance(attribute.value, str):
            raise CertificateError("a name in the subject is not text")
        values.append(attribute.value)
    return values
