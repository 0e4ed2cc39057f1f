"""Values that look like what clients send, and are not: made from one random generator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from common.api.resource import Resource

WORDS = (
    *("", "a", "A", ".", "..", "a/b", "a b", "-", "kubernetes.io/hostname", "default", "x" * 254),
    *("é", "\u0000", "\n", "\r\nX: y", "\u202e", "\ud7ff", "💥", "%2e%2e", "%00", "${VAR}", "$(A)"),
    *("{{.}}", "<script>", "'; --", "NaN", "null", "true", "0x10", "1e3", "١٢", "1_000", " 7 "),
    *("2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "10.0.0.1", "::"),
    *("100m", "1Ki", "1E", "-1", "1e999", "9223372036854775808", "apps/v1", "v1", "Pod", "List"),
)
NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 0.5, -0.0)
NAMES = (
    *("metadata", "name", "namespace", "labels", "annotations", "ownerReferences", "finalizers"),
    *("spec", "status", "containers", "initContainers", "env", "image", "command", "ports", "data"),
    *("replicas", "template", "selector", "matchLabels", "conditions", "type", "resources"),
    *("limits", "requests", "cpu", "memory", "volumes", "tolerations", "nodeName", "uid", "kind"),
    *("apiVersion", "resourceVersion", "generateName", "deletionTimestamp", "creationTimestamp"),
    *("gracePeriodSeconds", "terminationGracePeriodSeconds", "$patch", "$retainKeys", "op", "path"),
    *("$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "value", "from"),
)
KINDS = (
    ("v1", "Pod"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "Namespace"),
    ("v1", "Node"),
    ("v1", "Event"),
    ("v1", "Endpoints"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("coordination.k8s.io/v1", "Lease"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("certificates.k8s.io/v1", "CertificateSigningRequest"),
)


class Grammar:
    """Makes values; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *choices: Callable[[], Any]) -> Any:
        """What one of several makes."""
        return self.random.choice(choices)()

    def word(self) -> str:
        """A string, short mostly."""
        if self.random.random() < 0.02:
            return self.random.choice("ax/.\n") * self.random.choice((64, 1024, 100_000))
        if self.random.random() < 0.2:
            return "".join(chr(self.random.randrange(1, 0x2FFF)) for _ in range(6))
        return self.random.choice(WORDS)

    def scalar(self) -> Any:
        """What is no list and no map."""
        return self.random.choice(
            (None, True, False, self.word(), self.word(), self.random.choice(NUMBERS))
        )

    def value(self, depth: int = 4) -> Any:
        """Any JSON value."""
        if depth <= 0 or self.random.random() < 0.4:
            return self.scalar()
        size = self.random.choice((0, 1, 1, 2, 3, 5))
        if self.random.random() < 0.4:
            return [self.value(depth - 1) for _ in range(size)]
        return {self.name(): self.value(depth - 1) for _ in range(size)}

    def name(self) -> str:
        """A member's name, one that means something mostly."""
        return self.random.choice(NAMES) if self.random.random() < 0.85 else self.word()

    def object(self, resource: Resource | None = None) -> dict[str, Any]:
        """Something that is nearly an object of a kind, of any without one."""
        version, kind = self.random.choice(KINDS)
        if resource is not None:
            version, kind = resource.api_version, resource.kind
        made = seed_of(kind)
        made |= {"apiVersion": version, "kind": kind}
        for _ in range(self.random.choice((0, 1, 1, 2, 4))):
            self.mutate(made)
        return made

    def mutate(self, plain: Any) -> None:
        """Change one place of a value, in place."""
        places: list[tuple[Any, Any]] = []
        _places(plain, places)
        if not places or self.random.random() < 0.2:
            if isinstance(plain, dict):
                plain[self.name()] = self.value()
            return
        holder, key = self.random.choice(places)
        match self.random.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.extend(holder[key : key + 1] * self.random.choice((1, 3, 200)))
            case 2:
                holder[key] = self.scalar()
            case _:
                holder[key] = self.value(2)

    def encoded(self, plain: Any) -> bytes:
        """As JSON, which is broken now and then."""
        data = json.dumps(plain, ensure_ascii=self.random.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
        return self.damaged(data) if self.random.random() < 0.15 else data

    def damaged(self, data: bytes) -> bytes:
        """Bytes with a few changed, lost, doubled or added."""
        made = bytearray(data)
        for _ in range(self.random.choice((1, 1, 2, 8))):
            at = self.random.randrange(len(made) + 1)
            match self.random.randrange(4):
                case 0:
                    made[at : at + self.random.randrange(1, 9)] = b""
                case 1:
                    made[at:at] = bytes(self.random.randrange(256) for _ in range(3))
                case 2:
                    made[at:at] = made[max(0, at - 40) : at]
                case _:
                    made[at : at + 1] = self.random.choice(
                        (b"[", b"{", b'"', b"\xff", b"\0", b"e9")
                    )
        return bytes(made)

    def bytes(self) -> bytes:
        """Bytes without any form."""
        return self.random.randbytes(self.random.choice((0, 1, 7, 64, 1000)))


def _places(plain: Any, found: list[tuple[Any, Any]]) -> None:
    """Every (holder, key) in a value."""
    members = plain.items() if isinstance(plain, dict) else enumerate(plain)
    for key, value in members:
        found.append((plain, key))
        if isinstance(value, dict | list):
            _places(value, found)


def seed_of(kind: str) -> dict[str, Any]:
    """A valid object of a kind, without its type."""
    containers = [{"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}]}]
    containers[0]["resources"] = {"limits": {"cpu": "100m"}}
    pod = {"containers": containers, "tolerations": [{"operator": "Exists"}]}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    scaled = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    specs: dict[str, dict[str, Any]] = {
        "Pod": {"spec": pod},
        "ConfigMap": {"data": {"k": "v"}},
        "Secret": {"data": {"k": "dg=="}},
        "Service": {"spec": {"selector": labels, "ports": [{"port": 80}]}},
        "Deployment": {"spec": scaled},
        "ReplicaSet": {"spec": scaled},
        "StatefulSet": {"spec": {**scaled, "serviceName": "s"}},
        "Lease": {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 10}},
        "Event": {"involvedObject": {"kind": "Pod", "name": "p"}, "type": "Normal", "reason": "R"},
        "EndpointSlice": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]},
        "Endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    }
    made: dict[str, Any] = json.loads(json.dumps(specs.get(kind, {})))
    return {"metadata": {"name": "fuzz", "labels": dict(labels)}, **made}
