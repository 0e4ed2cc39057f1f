"""Client certificates that must not get in, on every listener: row G2."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.client.grpc import Settings, channel
from common.runtime.clock import SystemClock
from common.security.ca import (
    CLIENT,
    SERVER,
    CertificateAuthority,
    KeyPair,
    Leaf,
    private_key_pem,
)
from protos import cluster_v1_pb2 as pb
from protos import node_v1_pb2, node_v1_pb2_grpc
from protos.cluster_v1_pb2_grpc import ClusterStub
from tests.fakes.clock import FakeClock
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
MASTERS = ("system:masters",)
TLS = "refused by TLS"
UNKNOWN = "unknown"
DENIED = "denied"
Make = Callable[[RunningMaster], KeyPair | None]


def foreign(master: RunningMaster) -> KeyPair:
    """Of another authority with the same name."""
    other = CertificateAuthority.create("wherry-client-ca", SystemClock())
    return other.issue_client("admin", organizations=MASTERS)


def of_the_server_ca(master: RunningMaster) -> KeyPair:
    """Of the authority that signs servers only."""
    return master.server_ca().issue_client("admin", organizations=MASTERS)


def expired(master: RunningMaster) -> KeyPair:
    """Past its end."""
    leaf = Leaf(
        common_name="admin",
        organizations=MASTERS,
        usages=(CLIENT,),
        lifetime=timedelta(seconds=-60),
    )
    return master.client_ca().issue(leaf)


def not_yet_valid(master: RunningMaster) -> KeyPair:
    """Begins in an hour."""
    later = FakeClock(datetime.now(UTC) + timedelta(hours=1))
    return master.client_ca(later).issue_client("admin", organizations=MASTERS)


def for_servers(master: RunningMaster) -> KeyPair:
    """Made for servers, by the right authority."""
    leaf = Leaf(common_name="admin", organizations=MASTERS, usages=(SERVER,))
    return master.client_ca().issue(leaf)


def named(master: RunningMaster, attributes: list[tuple[x509.ObjectIdentifier, str]]) -> KeyPair:
    """Of the right authority, with a subject that its own code would never write."""
    directory = master.directory / "data/pki/client-ca"
    authority = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    signer = load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(signer, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(Encoding.PEM), private_key_pem(key))


def two_names(master: RunningMaster) -> KeyPair:
    """Two common names: whose is it?"""
    return named(
        master,
        [
            (NameOID.COMMON_NAME, "admin"),
            (NameOID.COMMON_NAME, "system:node:n1"),
            (NameOID.ORGANIZATION_NAME, "system:masters"),
        ],
    )


def no_name(master: RunningMaster) -> KeyPair:
    """A group and no name."""
    return named(master, [(NameOID.ORGANIZATION_NAME, "system:masters")])


def wrong_form(master: RunningMaster) -> KeyPair:
    """In the nodes' group with a name that is no node's."""
    return master.client_ca().issue_client("n1", organizations=("system:nodes",))


def no_group(master: RunningMaster) -> KeyPair:
    """A node's name without the nodes' group."""
    return master.client_ca().issue_client("system:node:n1")


def group_in_the_name(master: RunningMaster) -> KeyPair:
    """A name that looks like a group once it is printed."""
    return master.client_ca().issue_client("n1,O=system:masters")


def slashes_in_the_name(master: RunningMaster) -> KeyPair:
    """The same for those who print with slashes."""
    return master.client_ca().issue_client("n1/O=system:masters", organizations=("x",))


CASES: list[tuple[Make, str]] = [
    (lambda _: None, UNKNOWN),
    (foreign, TLS),
    (of_the_server_ca, TLS),
    (expired, TLS),
    (not_yet_valid, TLS),
    (for_servers, TLS),
    (two_names, UNKNOWN),
    (no_name, UNKNOWN),
    (wrong_form, DENIED),
    (no_group, DENIED),
    (group_in_the_name, DENIED),
    (slashes_in_the_name, DENIED),
]
IDS = [
    "none",
    "foreign",
    "server-ca",
    "expired",
    "not-yet",
    "for-servers",
    "two-names",
    "no-name",
    "wrong-form",
    "no-group",
    "group-in-name",
    "slashes-in-name",
]


def test_the_harness_lets_the_right_one_in(master: RunningMaster) -> None:
    """A certificate made by the same means with the right subject is an administrator's."""
    pair = named(
        master, [(NameOID.COMMON_NAME, "admin"), (NameOID.ORGANIZATION_NAME, "system:masters")]
    )
    assert https_outcome(master, pair) == "200"


def https_outcome(master: RunningMaster, pair: KeyPair | None) -> str:
    """What 6443 does with a certificate: the status, or that there was no answer."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", master.port, context=master.context(pair), timeout=10
    )
    try:
        connection.request("GET", "/api/v1/pods")
        answer = connection.getresponse()
        body = answer.read()
        assert json.loads(body)["kind"] in ("PodList", "Status")
        return str(answer.status)
    except (ssl.SSLError, ConnectionError):
        return TLS
    finally:
        connection.close()


@pytest.mark.parametrize(("make", "expected"), CASES, ids=IDS)
def test_https(master: RunningMaster, make: Make, expected: str) -> None:
    """6443."""
    outcome = https_outcome(master, make(master))
    assert outcome == {TLS: TLS, UNKNOWN: "401", DENIED: "403"}[expected]


async def refusal_of_control(opened: grpc.aio.Channel) -> grpc.StatusCode:
    """Why a node's stream is refused."""
    hello = node_v1_pb2.FromNode(hello=node_v1_pb2.Hello(node_name="n1"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await node_v1_pb2_grpc.NodeServiceStub(opened).Control(iter([hello]), timeout=15).read()
    return refused.value.code()


@pytest.mark.parametrize(("make", "expected"), CASES, ids=IDS)
async def test_grpc_with_certificates(master: RunningMaster, make: Make, expected: str) -> None:
    """6444, both services; without a certificate there is no connection."""
    pair = make(master)
    settings = Settings(f"127.0.0.1:{master.node_port}", master.kubeconfig.ca_pem, pair)
    codes = set()
    async with channel(settings) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ClusterStub(opened).List(pb.ListRequest(resource={"plural": "pods"}), timeout=15)
        codes.add(refused.value.code())
        codes.add(await refusal_of_control(opened))
    if expected == TLS or pair is None:
        # A refused handshake is tried again until the call has no time left.
        assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    elif expected == UNKNOWN:
        assert codes == {grpc.StatusCode.UNAUTHENTICATED}
    else:
        assert codes == {grpc.StatusCode.PERMISSION_DENIED}


@pytest.mark.parametrize(("make", "expected"), CASES, ids=IDS)
async def test_grpc_with_tokens(master: RunningMaster, make: Make, expected: str) -> None:
    """6445 does not ask for certificates, so none helps; not even the administrator's."""
    for pair in (make(master), master.client_ca().issue_client("admin", organizations=MASTERS)):
        settings = Settings(f"127.0.0.1:{master.script_port}", master.kubeconfig.ca_pem, pair)
        async with channel(settings) as opened:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                request = pb.ListRequest(resource={"plural": "pods"})
                await ClusterStub(opened).List(request, timeout=15)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
