"""How long certificates live, and when they are renewed: at two thirds of their life."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cryptography import x509

from common.security.ca import CLOCK_SKEW, CertificateError


class Validity(NamedTuple):
    """The life of a certificate."""

    issued: datetime
    expires: datetime

    @property
    def renew(self) -> datetime:
        """When it is to be replaced."""
        return self.issued + (self.expires - self.issued) * 2 / 3

    def is_due(self, now: datetime, authority_begins: datetime) -> bool:
        """Whether it is to be replaced: also when it is from a time that is still to come.

        Then the clock was wrong when it was issued, or is wrong now. In either case a new one
        counts on this machine, unless not even its authority does.
        """
        return now >= self.renew or authority_begins <= now < self.issued - CLOCK_SKEW


def validity(certificate_pem: bytes) -> Validity:
    """The life of one of our certificates, which begin earlier than they are issued.

    Raises CertificateError.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise CertificateError(f"not a certificate: {error}") from error
    return Validity(certificate.not_valid_before_utc + CLOCK_SKEW, certificate.not_valid_after_utc)
