"""Pure functions that read what comes from outside: each takes bytes, and raises what it may."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common.api import fields, labels, patch, quantity, schema, times
from common.api.codec import json as codec
from common.api.codec import protobuf, yaml
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.api.types.apps_v1 import Deployment
from common.api.types.core_v1 import Node, Pod, Service
from common.security.ca import CertificateError
from common.security.csr import check_node_request
from common.security.tokens import InvalidToken, parse_token
from master.apiserver.registry.reads import decode_token
from master.apiserver.request import patches, target
from master.apiserver.request.patches import Patch
from master.apiserver.resources.core.pod import pod
from master.apiserver.rest import requestinfo
from master.nodes import intake
from node.kubelet.streams.logs import LogQuery, Reader
from protos import node_v1_pb2
from tests.fuzz.grammar import Grammar, seed_of
from tests.fuzz.messages import Messages

Target = Callable[[bytes], None]
found = SCHEME.resource("", "v1", "pods")
assert found is not None
PODS = found
POD = {"apiVersion": "v1", "kind": "Pod", **seed_of("Pod")}
KEY = ec.derive_private_key(20_261_129, ec.SECP256R1())
SIGNS = ("=", "==", "!=", ",", " in (", " notin (", ")", "!", ">", ";", "/", "?", "&", "::", ".")
MESSAGE = schema.message("core_v1", "Pod")


def read_json(data: bytes) -> None:
    """Strict decoding, as of a request's body."""
    for cls in (Pod, Deployment, Service, Node):
        try:
            obj, findings = codec.decode_request(data, cls)
        except StatusError as error:
            _refusal(error)
            continue
        assert len(findings) <= 200
        again, _ = codec.decode_request(codec.encode(obj), cls)
        assert codec.encode(again) == codec.encode(obj), "what was read is read alike again"


def read_yaml(data: bytes) -> None:
    """A body in YAML."""
    try:
        json.dumps(yaml.decode(data))
    except StatusError as error:
        _refusal(error)


def read_protobuf(data: bytes) -> None:
    """A body in Kubernetes' envelope, and back."""
    for body in (data, protobuf.MAGIC + data):
        try:
            plain = protobuf.decode(body)
        except StatusError as error:
            _refusal(error)
        else:
            codec.encode(plain)


def apply_patch(data: bytes) -> None:
    """Every kind of patch, applied to a pod."""
    for kind in (
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ):
        before = json.dumps(POD)
        try:
            made = patches.read(SCHEME, target.Target(PODS), Patch(data, kind)).apply(POD)
            json.dumps(made)
        except StatusError as error:
            _refusal(error)
        assert json.dumps(POD) == before, "patches change nothing in place"


def merge_twice(data: bytes) -> None:
    """A strategic merge patch of maps only changes nothing the second time."""
    try:
        document = codec.decode_plain(data)
        if isinstance(document, dict) and b"$" not in data:
            once = patch.strategic(POD, document, MESSAGE)
            assert patch.strategic(once, document, MESSAGE) == once or b"[" in data
    except StatusError as error:
        _refusal(error)


def read_texts(data: bytes) -> None:
    """Quantities, times, selectors, continue tokens, join tokens, paths, queries."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (
        quantity.canonical,
        times.parse,
        labels.parse,
        lambda one: fields.parse(one, pod.FIELDS),
        lambda one: decode_token(one, "/wherry/registry/pods/"),
        parse_token,
        requestinfo.segments,
        requestinfo.query,
    ):
        try:
            read(text)
        except (ValueError, InvalidToken, UnicodeError):
            pass
        except StatusError as error:
            _refusal(error)


def take_message(data: bytes) -> None:
    """A message of a node."""
    try:
        message = node_v1_pb2.FromNode.FromString(data)
    except Exception:  # noqa: BLE001 - protobuf's own refusal; gRPC ends such a stream
        return
    try:
        if message.WhichOneof("message") == "event":
            intake.occurrence(message.event, "n1", lambda *_: True)
        else:
            intake.check(message)
    except intake.Refused as error:
        assert len(str(error)) < 2000


def check_csr(data: bytes) -> None:
    """A certificate signing request."""
    try:
        check_node_request(data)
    except CertificateError:
        pass


def read_log(data: bytes) -> None:
    """A container's log file, whole and from an end."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for tail in (-1, 0, 1, 5):
            reader = Reader(Path(file.name), LogQuery(False, tail > 0, tail, 0, 0))
            try:
                while reader.read():
                    pass
            finally:
                reader.close()


def _refusal(error: StatusError) -> None:
    """A refusal is the client's fault, and short."""
    assert 400 <= error.code < 500, error
    assert len(json.dumps(error.status())) < 1_000_000


TARGETS: Mapping[str, Target] = {
    "json": read_json,
    "yaml": read_yaml,
    "protobuf": read_protobuf,
    "patch": apply_patch,
    "merge": merge_twice,
    "texts": read_texts,
    "intake": take_message,
    "csr": check_csr,
    "log": read_log,
}


def sample(name: str, grammar: Grammar) -> bytes:
    """An input for a target: what it reads, with mistakes."""
    match name:
        case "json" | "yaml":
            return grammar.encoded(grammar.object())
        case "protobuf":
            return _envelope(grammar)
        case "patch" | "merge":
            return grammar.encoded(grammar.one(grammar.value, grammar.object, _operations(grammar)))
        case "texts":
            return _text(grammar).encode("utf-8", "surrogatepass")
        case "csr":
            return _request(grammar)
        case "intake":
            return _node_message(grammar)
        case "log":
            line = b"2026-01-01T00:00:00.000000000Z stdout F text\n"
            return grammar.damaged(line * grammar.random.randrange(1, 40))
    return grammar.one(grammar.bytes, lambda: grammar.word().encode("utf-8", "surrogatepass"))


def _text(grammar: Grammar) -> str:
    """Words, and signs between them that mean something in selectors, paths and tokens."""
    between = [grammar.random.choice(SIGNS) for _ in range(grammar.random.choice((0, 1, 2, 4)))]
    return grammar.word() + "".join(sign + grammar.word() for sign in between)


def _request(grammar: Grammar) -> bytes:
    """A request of a node for its certificate; every other one broken below its armour."""
    names = grammar.one(lambda: ["system:node:n1"], lambda: [f"system:node:{grammar.word()}"], list)
    groups = grammar.one(lambda: ["system:nodes"], lambda: ["system:nodes"], list)
    try:
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
        attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    except (ValueError, UnicodeError):  # a name that no request can say
        return grammar.bytes()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    signed = builder.sign(KEY, hashes.SHA256(), ecdsa_deterministic=True)
    if grammar.random.random() < 0.5:
        return signed.public_bytes(Encoding.PEM)
    der = grammar.damaged(signed.public_bytes(Encoding.DER))
    head, foot = b"-----BEGIN CERTIFICATE REQUEST-----", b"-----END CERTIFICATE REQUEST-----"
    return head + b"\n" + base64.encodebytes(der) + foot + b"\n"


def _envelope(grammar: Grammar) -> bytes:
    try:
        return grammar.damaged(protobuf.encode(grammar.object()))
    except Exception:  # noqa: BLE001 - an object that protobuf cannot say is no input
        return grammar.bytes()


def _operations(grammar: Grammar) -> Callable[[], Any]:
    def path() -> str:
        return "".join(f"/{grammar.name()}" for _ in range(grammar.random.randrange(4)))

    def operation() -> dict[str, Any]:
        name = grammar.random.choice(("add", "remove", "replace", "move", "copy", "test", "x"))
        return {"op": name, "path": path(), "from": path(), "value": grammar.value(2)}

    return lambda: [operation() for _ in range(grammar.random.randrange(6))]


def _node_message(grammar: Grammar) -> bytes:
    messages = Messages(grammar, {"namespace": lambda: "default", "type": lambda: "Normal"})
    return messages.encoded(node_v1_pb2.FromNode(), damage=0.3)
