"""Field selectors: `status.phase!=Failed,spec.nodeName=n1` and which fields each kind offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from common.api.resource import Resource

COMMON = ("metadata.name", "metadata.namespace")
# Further fields by kind: selector field -> value of an absent member.
OFFERED: dict[str, dict[str, str]] = {
    "Pod": dict.fromkeys(
        (
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ),
        "",
    )
    | {"spec.hostNetwork": "false"},
    "Node": {"spec.unschedulable": "false"},
    "Secret": {"type": ""},
    "Namespace": {"status.phase": ""},
    "Service": {"spec.clusterIP": "", "spec.type": ""},
    "ReplicationController": {"status.replicas": "0"},
    "ReplicaSet": {"status.replicas": "0"},
    "CertificateSigningRequest": {"spec.signerName": ""},
    "Event": dict.fromkeys(
        (
            *(
                f"involvedObject.{name}"
                for name in (
                    "kind",
                    "namespace",
                    "name",
                    "uid",
                    "apiVersion",
                    "resourceVersion",
                    "fieldPath",
                )
            ),
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
        "",
    ),
}


class InvalidFieldSelector(ValueError):
    """The selector cannot be understood; the text says why."""


class FieldRequirement(NamedTuple):
    """One condition: the field's value equals `value`, or must not."""

    field: str
    value: str
    equal: bool

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object with these field values satisfies the condition."""
        return (fields[self.field] == self.value) == self.equal


def parse(text: str, resource: Resource) -> tuple[FieldRequirement, ...]:
    """Parse a selector; raises InvalidFieldSelector for syntax and for unknown fields."""
    found = []
    for term in text.split(","):
        if not term:
            continue
        for operator in ("!=", "==", "="):
            name, mark, value = term.partition(operator)
            if mark:
                break
        else:
            raise InvalidFieldSelector(f"invalid selector: '{text}'; can't understand '{term}'")
        if name not in COMMON and name not in OFFERED.get(resource.kind, {}):
            raise InvalidFieldSelector(f"field label not supported: {name}")
        found.append(FieldRequirement(name, value, operator != "!="))
    return tuple(found)


def values(plain: Mapping[str, Any], kind: str, wanted: tuple[str, ...]) -> dict[str, str]:
    """The values of `wanted` fields in an object of plain JSON values."""
    absent = OFFERED.get(kind, {})
    return {name: _value(plain, name, absent.get(name, "")) for name in wanted}


def _value(plain: Mapping[str, Any], name: str, absent: str) -> str:
    found: Any = plain
    path = name.split(".")
    if name == "status.podIPs":
        path = ["status", "podIP"]
    elif name == "source" and isinstance(plain.get("source"), dict):
        path = ["source", "component"]
    for part in path:
        if not isinstance(found, Mapping):
            return absent
        found = found.get(part)
    if found is None:
        return absent
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found)
