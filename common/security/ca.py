"""The cluster's certificate authorities: ECDSA P-256, subjects chosen by us, never by a request."""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.runtime.clock import Clock
from common.security.files import make_private_directory, write_private
from common.security.keypair import KeyPair

CA_LIFETIME = timedelta(days=3650)
CLOCK_SKEW = timedelta(minutes=5)
"""Certificates begin this much in the past, for machines whose clocks are behind."""

BUNDLE_MAX = 8
"""Authorities that are trusted at once: one, and two during a rotation."""

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


class CertificateError(Exception):
    """A certificate, key or request cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a certificate says about its holder."""

    common_name: str
    organizations: Sequence[str] = ()
    dns_names: Sequence[str] = ()
    addresses: Sequence[str] = ()
    uris: Sequence[str] = ()
    usages: Sequence[x509.ObjectIdentifier] = ()
    lifetime: timedelta = timedelta(days=365)


class CertificateAuthority:
    """Issues certificates; holds the one key that can."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, clock: Clock
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self.certificate_pem = certificate.public_bytes(Encoding.PEM)

    @classmethod
    def create(
        cls, common_name: str, clock: Clock, lifetime: timedelta = CA_LIFETIME
    ) -> "CertificateAuthority":
        """A new self-signed authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name, ())
        builder = _builder(name, name, key.public_key(), key.public_key())
        start = clock.now() - CLOCK_SKEW
        builder = builder.not_valid_before(start).not_valid_after(clock.now() + lifetime)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_key_usage(authority=True), True)
        return cls(builder.sign(key, hashes.SHA256()), key, clock)

    @classmethod
    def load_or_create(
        cls, directory: Path, common_name: str, clock: Clock
    ) -> "CertificateAuthority":
        """The authority in `directory` (ca.crt, ca.key), made there at the first start.

        Raises CertificateError when the files cannot be read or do not belong together.
        """
        make_private_directory(directory)
        certificate_file, key_file = directory / "ca.crt", directory / "ca.key"
        if not certificate_file.exists():
            created = cls.create(common_name, clock)
            # The certificate is written last: while it is missing, nothing was issued.
            write_private(key_file, private_key_pem(created._key))
            write_private(certificate_file, created.certificate_pem)
            return created
        try:
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = load_pem_private_key(key_file.read_bytes(), None)
        except (OSError, ValueError) as error:
            raise CertificateError(f"cannot load the authority in {directory}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or (
            key.public_key() != certificate.public_key()
        ):
            raise CertificateError(f"ca.key and ca.crt in {directory} do not belong together")
        return cls(certificate, key, clock)

    @property
    def begins(self) -> datetime:
        """From when on it counts."""
        return self._certificate.not_valid_before_utc

    @property
    def key_pem(self) -> bytes:
        """Its private key."""
        return private_key_pem(self._key)

    def issue_server(
        self, common_name: str, *, dns_names: Sequence[str] = (), addresses: Sequence[str] = ()
    ) -> KeyPair:
        """A new key and a certificate for a server with these names and IP addresses."""
        return self.issue(
            Leaf(
                common_name=common_name, dns_names=dns_names, addresses=addresses, usages=(SERVER,)
            )
        )

    def issue_client(
        self, common_name: str, *, organizations: Sequence[str] = (), uris: Sequence[str] = ()
    ) -> KeyPair:
        """A new key and a certificate for a client: user name, groups and URIs."""
        return self.issue(
            Leaf(common_name=common_name, organizations=organizations, uris=uris, usages=(CLIENT,))
        )

    def issue(self, leaf: Leaf) -> KeyPair:
        """A new key and a certificate that says what `leaf` says."""
        key = ec.generate_private_key(ec.SECP256R1())
        return KeyPair(self._sign(key.public_key(), leaf), private_key_pem(key))

    def sign_request(self, request_pem: bytes, leaf: Leaf) -> bytes:
        """A certificate (PEM) for the key of a request. Of the request only the key is used.

        Raises CertificateError when the request does not prove possession of its key.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem)
            proven = request.is_signature_valid
            public_key = request.public_key()
        except Exception as error:
            raise CertificateError(f"not a certificate signing request: {error}") from error
        if not proven:
            raise CertificateError("the request is not signed with the key that it carries")
        return self._sign(public_key, leaf)

    def _sign(self, public_key: CertificatePublicKeyTypes, leaf: Leaf) -> bytes:
        subject = _name(leaf.common_name, leaf.organizations)
        builder = _builder(subject, self._certificate.subject, public_key, self._key.public_key())
        builder = builder.not_valid_before(self._clock.now() - CLOCK_SKEW)
        builder = builder.not_valid_after(self._end(leaf.lifetime))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(_key_usage(authority=False), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(leaf.usages), False)
        if names := _alternative_names(leaf):
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _end(self, lifetime: timedelta) -> datetime:
        """No certificate outlives its authority."""
        return min(self._clock.now() + lifetime, self._certificate.not_valid_after_utc)


def certificates_in(pem: bytes) -> list[bytes]:
    """The certificates in `pem`, at most eight, in the one form that everybody reads alike.

    Whoever compares a certificate with a pin must trust what it has compared, and not the text
    that it came in. Raises CertificateError.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateError(f"not a certificate: {error}") from error
    if len(certificates) > BUNDLE_MAX:
        raise CertificateError(f"{len(certificates)} certificates, more than {BUNDLE_MAX}")
    return [each.public_bytes(Encoding.PEM) for each in certificates]


def key_id(authority_pem: bytes) -> str:
    """The key id, in hex, of an authority. Raises CertificateError."""
    try:
        extensions = x509.load_pem_x509_certificate(authority_pem).extensions
        extension = extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CertificateError(f"not an authority of ours: {error}") from error
    return extension.value.digest.hex()


def serial_of(certificate_pem: bytes) -> str:
    """A certificate's serial number as `Identity.serial` has it. Raises CertificateError."""
    try:
        return serial_text(x509.load_pem_x509_certificate(certificate_pem))
    except ValueError as error:
        raise CertificateError(f"not a certificate: {error}") from error


def serial_text(certificate: x509.Certificate) -> str:
    """A certificate's serial number as it is written where certificates are compared."""
    return f"{certificate.serial_number:x}"


def issuer_of(certificate: x509.Certificate) -> str:
    """The key id, in hex, of the authority that has signed it; '' when it does not say."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (ValueError, x509.ExtensionNotFound):
        return ""
    return (extension.value.key_identifier or b"").hex()


def pin(ca_pem: bytes) -> str:
    """The fingerprint by which a joining node knows an authority: `sha256:<hex>`.

    It covers the public key info, as kubeadm's discovery hash does, so that it survives a
    renewal of the certificate with the same key.
    """
    try:
        key = x509.load_pem_x509_certificate(ca_pem).public_key()
    except ValueError as error:
        raise CertificateError(f"not a certificate: {error}") from error
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(info).hexdigest()}"


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS #8: protected by its file's mode."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: CertificatePublicKeyTypes,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(public_key).serial_number(x509.random_serial_number())
    subject_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    return builder.add_extension(subject_id, False).add_extension(authority_id, False)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(leaf: Leaf) -> list[x509.GeneralName]:
    return [
        *(x509.DNSName(name) for name in leaf.dns_names),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in leaf.addresses),
        *(x509.UniformResourceIdentifier(uri) for uri in leaf.uris),
    ]
