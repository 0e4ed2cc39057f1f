"""Certificate signing requests: made on a node, checked on the master.

The rules are those of Kubernetes' signer kubernetes.io/kube-apiserver-client-kubelet.
"""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from common.api.names import dns_subdomain
from common.api.wellknown import NODE_USER_PREFIX, NODES_GROUP
from common.security.ca import CertificateError, private_key_pem
from common.security.identity import subject_values

NODE_CERTIFICATE = "wherry.dev/certificate"
"""The annotation of a Node: the serial number of its machine's certificate, in hex."""
NEXT_CERTIFICATE = "wherry.dev/next-certificate"
"""The same of a certificate that was made to replace it, until the machine uses that."""
EXPIRES = "wherry.dev/certificate-expires"
"""The end of the certificate that is used, in RFC 3339."""
REVOKED = "revoked"
"""In place of a serial number: no certificate counts."""
MACHINE_ID = "wherry.dev/machine-id"
"""The annotation of a request: the machine that asks, as its Node's nodeInfo has it."""
NODE_NAME_MAX = 64 - len(NODE_USER_PREFIX)
"""A common name has at most 64 characters (X.520), and user names of nodes are common names."""
ASKED_BY = "wherry.dev/certificate"
"""The extra value of a node's request: the serial number of the certificate that it asked by."""
_SUBJECT_ATTRIBUTES = {NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME}
_MIN_RSA_BITS = 2048


def make_key() -> bytes:
    """A new ECDSA P-256 key (PEM); store it with `write_private`."""
    return private_key_pem(ec.generate_private_key(ec.SECP256R1()))


def make_request(key_pem: bytes, common_name: str, organizations: Sequence[str] = ()) -> bytes:
    """A request (PEM) for this subject, signed with the key."""
    key = load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the key is not an elliptic curve key")
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def check_node_request(request_pem: bytes) -> str:
    """The node's name in a request for a node's client certificate. Raises CertificateError."""
    request = check_request(request_pem)
    if any(isinstance(one.value, x509.SubjectAlternativeName) for one in request.extensions):
        raise CertificateError("a node's client certificate has no alternative names")
    _check_key(request.public_key())
    return _node_name(request.subject)


def check_request(request_pem: bytes) -> x509.CertificateSigningRequest:
    """A request that can be read and is signed with its own key. Raises CertificateError."""
    try:
        request = x509.load_pem_x509_csr(request_pem)
        proven, _, _ = request.is_signature_valid, request.public_key(), list(request.extensions)
    except Exception as error:
        # The library raises errors of many kinds, depending on what is wrong with the bytes.
        raise CertificateError(f"not a certificate signing request: {error}") from error
    if not proven:
        raise CertificateError("the request is not signed with the key that it carries")
    return request


def _node_name(subject: x509.Name) -> str:
    if any(attribute.oid not in _SUBJECT_ATTRIBUTES for attribute in subject):
        raise CertificateError("the subject has attributes other than CN and O")
    if subject_values(subject, NameOID.ORGANIZATION_NAME) != [NODES_GROUP]:
        raise CertificateError(f"organization must be {NODES_GROUP} and nothing else")
    names = subject_values(subject, NameOID.COMMON_NAME)
    if len(names) != 1 or not names[0].startswith(NODE_USER_PREFIX):
        raise CertificateError(f"common name must be {NODE_USER_PREFIX}<node name>")
    name = names[0].removeprefix(NODE_USER_PREFIX)
    if dns_subdomain(name) or len(name) > NODE_NAME_MAX:
        raise CertificateError(
            f"the node name must be a lower case host name of at most {NODE_NAME_MAX} characters"
        )
    return name


def _check_key(key: object) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        return
    raise CertificateError(f"the key must be ECDSA P-256 or RSA of {_MIN_RSA_BITS} bits or more")
