"""Authorities, what they issue, and what requests may ask for."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from common.security.ca import (
    CLIENT,
    CertificateAuthority,
    CertificateError,
    Leaf,
    pin,
)
from common.security.csr import check_node_request, make_key, make_request
from common.security.identity import Identity, identity_from_der, identity_from_pem
from tests.fakes.clock import FakeClock

NODE = ("system:node:n1", ["system:nodes"])


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority.create("test-ca", FakeClock())


def roots(authority: CertificateAuthority) -> Store:
    return Store([x509.load_pem_x509_certificate(authority.certificate_pem)])


def test_server_certificate_is_valid_for_its_names_only(authority: CertificateAuthority) -> None:
    pair = authority.issue_server("api", dns_names=["api.local"], addresses=["10.0.0.1"])
    leaf = x509.load_pem_x509_certificate(pair.certificate_pem)
    policy = PolicyBuilder().store(roots(authority)).time(FakeClock().now())
    policy.build_server_verifier(x509.DNSName("api.local")).verify(leaf, [])
    with pytest.raises(VerificationError):
        policy.build_server_verifier(x509.DNSName("other.local")).verify(leaf, [])
    with pytest.raises(VerificationError):
        policy.build_client_verifier().verify(leaf, [])
    late = PolicyBuilder().store(roots(authority)).time(FakeClock().now() + timedelta(days=366))
    with pytest.raises(VerificationError):
        late.build_server_verifier(x509.DNSName("api.local")).verify(leaf, [])


def test_certificate_never_outlives_its_authority() -> None:
    clock = FakeClock()
    authority = CertificateAuthority.create("short", clock, lifetime=timedelta(days=10))
    leaf = x509.load_pem_x509_certificate(authority.issue_client("u").certificate_pem)
    assert leaf.not_valid_after_utc == clock.now() + timedelta(days=10)
    assert leaf.not_valid_before_utc == clock.now() - timedelta(minutes=5)


@pytest.mark.parametrize("name", ["a,O=system:masters", "a/CN=b", "é ☃", 'q"+\\', "a=b;c"])
def test_identity_survives_odd_characters(authority: CertificateAuthority, name: str) -> None:
    pair = authority.issue_client(name, organizations=["g2", "g1,CN=x", "g2"])
    expected = Identity(name, ("g2", "g1,CN=x"))
    assert identity_from_pem(pair.certificate_pem) == expected
    assert identity_from_der(ssl.PEM_cert_to_DER_cert(pair.certificate_pem.decode())) == expected
    assert b"PRIVATE" not in repr(pair).encode()


def test_garbage_is_no_identity() -> None:
    for data in (b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(CertificateError):
            identity_from_pem(data)
        with pytest.raises(CertificateError):
            identity_from_der(data)


def test_authority_is_made_once_and_loaded_again(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "pki"
    made = CertificateAuthority.load_or_create(directory, "ca", FakeClock())
    loaded = CertificateAuthority.load_or_create(directory, "ca", FakeClock())
    assert loaded.certificate_pem == made.certificate_pem
    assert pin(loaded.certificate_pem) == pin(made.certificate_pem)
    assert pin(made.certificate_pem).startswith("sha256:") and len(pin(made.certificate_pem)) == 71
    other = CertificateAuthority.create("ca", FakeClock())
    (directory / "ca.crt").write_bytes(other.certificate_pem)
    with pytest.raises(CertificateError, match="do not belong together"):
        CertificateAuthority.load_or_create(directory, "ca", FakeClock())
    (directory / "ca.key").unlink()
    with pytest.raises(CertificateError):
        CertificateAuthority.load_or_create(directory, "ca", FakeClock())


def test_of_a_request_only_the_key_is_used(authority: CertificateAuthority) -> None:
    key = make_key()
    request = make_request(key, "root", ["system:masters"])
    pem = authority.sign_request(
        request,
        Leaf(common_name="system:node:n1", organizations=["system:nodes"], usages=[CLIENT]),
    )
    assert identity_from_pem(pem) == Identity("system:node:n1", ("system:nodes",))
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.public_key() == x509.load_pem_x509_csr(request).public_key()
    with pytest.raises(CertificateError):
        authority.sign_request(b"junk", Leaf(common_name="x"))


def test_node_request_is_accepted() -> None:
    assert check_node_request(make_request(make_key(), *NODE)) == "n1"


@pytest.mark.parametrize(
    ("common_name", "organizations"),
    [
        ("system:node:", ["system:nodes"]),
        ("root", ["system:nodes"]),
        ("system:node:n1", []),
        ("system:node:n1", ["system:nodes", "system:masters"]),
        ("system:node:n1", ["system:masters"]),
    ],
)
def test_node_request_with_another_subject(common_name: str, organizations: list[str]) -> None:
    with pytest.raises(CertificateError):
        check_node_request(make_request(make_key(), common_name, organizations))


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *, extra: str = "") -> bytes:
    attributes = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
        x509.NameAttribute(NameOID.COMMON_NAME, "system:node:n1"),
    ]
    if extra == "ou":
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "x"))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if extra == "san":
        name = x509.SubjectAlternativeName([x509.DNSName("api.local")])
        builder = builder.add_extension(name, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_node_request_with_odd_keys_names_and_signatures() -> None:
    good = ec.generate_private_key(ec.SECP256R1())
    assert check_node_request(request(rsa.generate_private_key(65537, 2048))) == "n1"
    bad = [
        request(ec.generate_private_key(ec.SECP384R1())),
        request(rsa.generate_private_key(65537, 1024)),
        request(good, extra="san"),
        request(good, extra="ou"),
        b"junk",
        b"",
    ]
    for one in bad:
        with pytest.raises(CertificateError):
            check_node_request(one)


def test_request_signed_with_another_key_is_refused(authority: CertificateAuthority) -> None:
    der = bytearray(
        x509.load_pem_x509_csr(make_request(make_key(), *NODE)).public_bytes(Encoding.DER)
    )
    der[-1] ^= 1
    forged = ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    for use in (check_node_request, lambda pem: authority.sign_request(pem, Leaf(common_name="x"))):
        with pytest.raises(CertificateError, match="not signed"):
            use(forged.encode())
