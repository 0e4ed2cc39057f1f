"""Rules for the environment of containers. Source: pkg/apis/core/validation."""

from __future__ import annotations

from collections.abc import Collection

from common.api import errors, names, quantity
from common.api.types.core_v1 import (
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    ObjectFieldSelector,
    ResourceFieldSelector,
)
from master.apiserver.resources.lib.checks import Findings, named

ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_OTHER_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
)
_RESOURCES = tuple(
    f"{side}.{name}"
    for side in ("limits", "requests")
    for name in ("cpu", "memory", "ephemeral-storage")
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_KINDS = {
    "cpu": "cpu",
    "memory": "memory",
    "ephemeral-storage": "local ephemeral storage",
}
_CPU_DIVISORS = ("1m", "1")
_BYTE_DIVISORS = ("1", *(f"1{unit}" for unit in "kMGTPE"), *(f"1{unit}i" for unit in "KMGTPE"))
_ONE_ONLY = "may not have more than one field specified at a time"


def validate_env(path: str, variables: tuple[EnvVar, ...]) -> Findings:
    """Named variables with a value or one source of it."""
    for number, variable in enumerate(variables):
        here = f"{path}[{number}]"
        if not variable.name:
            yield errors.required(f"{here}.name")
        else:
            yield from named(f"{here}.name", variable.name, names.env_var_name)
        if variable.valueFrom is not None:
            yield from _value_from(f"{here}.valueFrom", variable, variable.valueFrom)


def _value_from(path: str, variable: EnvVar, source: EnvVarSource) -> Findings:
    sources = sum(getattr(source, name) is not None for name in source.__struct_fields__)
    if source.fieldRef is not None:
        yield from field_ref(f"{path}.fieldRef", source.fieldRef, ENV_FIELDS)
    if source.resourceFieldRef is not None:
        yield from resource_field_ref(f"{path}.resourceFieldRef", source.resourceFieldRef)
    for name in ("configMapKeyRef", "secretKeyRef"):
        reference = getattr(source, name)
        if reference is not None:
            yield from _key_ref(f"{path}.{name}", reference.name, reference.key)
    if sources == 0:
        text = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, "
            "`secretKeyRef` or `fileKeyRef`"
        )
        yield errors.invalid(path, "", text)
    elif variable.value:
        yield errors.invalid(path, "", "may not be specified when `value` is not empty")
    elif sources > 1:
        yield errors.invalid(path, "", _ONE_ONLY)


def field_ref(path: str, reference: ObjectFieldSelector, fields: Collection[str]) -> Findings:
    """A field of the pod, or one of its labels or annotations: `metadata.labels['app']`."""
    field = reference.fieldPath
    if not field:
        yield errors.required(f"{path}.fieldPath")
        return
    base, bracket, subscript = field.partition("['")
    known = base in ENV_FIELDS or base in _OTHER_FIELDS
    if reference.apiVersion != "v1" or not known:
        text = f"error converting fieldPath: field label not supported: {field}"
        if reference.apiVersion != "v1":
            text = f"error converting fieldPath: unsupported pod version: {reference.apiVersion}"
        yield errors.invalid(f"{path}.fieldPath", field, text)
    elif bracket and subscript.endswith("']"):
        key = subscript.removesuffix("']")
        if base == "metadata.annotations":
            yield from named(path, key.lower(), names.qualified_name)
        elif base == "metadata.labels":
            yield from named(path, key, names.qualified_name)
        else:
            yield errors.invalid(path, base, "does not support subscript")
    elif field not in fields:
        yield errors.not_supported(f"{path}.fieldPath", field, sorted(fields))


def resource_field_ref(
    path: str, reference: ResourceFieldSelector, *, container_required: bool = False
) -> Findings:
    """A container's limit or request."""
    if container_required and not reference.containerName:
        yield errors.required(f"{path}.containerName")
    elif not reference.resource:
        yield errors.required(f"{path}.resource")
    elif reference.resource not in _RESOURCES and not reference.resource.startswith(_HUGE_PAGES):
        yield errors.not_supported(f"{path}.resource", reference.resource, sorted(_RESOURCES))
    yield from _divisor(f"{path}.divisor", reference)


def _divisor(path: str, reference: ResourceFieldSelector) -> Findings:
    """What an amount is divided by: a unit that makes sense for it; zero is not set."""
    name = reference.resource
    kind = _KINDS.get(name.partition(".")[2], "hugepages" if name.startswith(_HUGE_PAGES) else "")
    allowed = _CPU_DIVISORS if kind == "cpu" else _BYTE_DIVISORS
    if not kind or quantity.parse(reference.divisor) == 0 or reference.divisor in allowed:
        return
    values = " and ".join(allowed) if kind == "cpu" else ", ".join(allowed)
    text = f"only divisor's values {values} are supported with the {kind} resource"
    yield errors.invalid(path, name, text)


def _key_ref(path: str, name: str, key: str) -> Findings:
    yield from named(f"{path}.name", name, names.dns_subdomain)
    if not key:
        yield errors.required(f"{path}.key")
    else:
        yield from named(f"{path}.key", key, names.config_map_key)


def validate_env_from(path: str, sources: tuple[EnvFromSource, ...]) -> Findings:
    """Sources of many variables: each one ConfigMap or one Secret."""
    for number, source in enumerate(sources):
        here = f"{path}[{number}]"
        if source.prefix:
            yield from named(f"{here}.prefix", source.prefix, names.env_var_name)
        given = 0
        for member in ("configMapRef", "secretRef"):
            reference = getattr(source, member)
            if reference is None:
                continue
            given += 1
            if not reference.name:
                yield errors.required(f"{here}.{member}.name")
            else:
                yield from named(f"{here}.{member}.name", reference.name, names.dns_subdomain)
        if given == 0:
            yield errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif given > 1:
            yield errors.invalid(path, "", _ONE_ONLY)
