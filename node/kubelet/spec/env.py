"""The environment of a container: literal values, ConfigMaps, Secrets, the pod's own fields. Pure.

Source: https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-container/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.api import quantity
from common.api.codec import json as codec
from common.api.types.core_v1 import (
    ConfigMap,
    Container,
    EnvVarSource,
    ObjectFieldSelector,
    Pod,
    ResourceFieldSelector,
    Secret,
    Service,
    ServicePort,
)
from common.api.types.runtimeclass_v1 import RuntimeClass
from common.api.wellknown import CLUSTER_DOMAIN
from node.kubelet.spec import texts
from node.kubelet.spec.texts import ConfigError

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")
_ENV_NAME = re.compile(r"[ -<>-~]+")


HOSTNAME_MAX = 64
"""Linux takes no longer name; of a pod's own name one character less is used."""
TokenKey = tuple[str, int]
"""(audience, seconds) of a service account's token; '' is the API server."""


@dataclass(slots=True)
class Config:
    """What a pod references: ConfigMaps, Secrets, Services in JSON, tokens, its RuntimeClass."""

    config_maps: dict[str, ConfigMap] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    services: Sequence[bytes] = ()
    """Decoded when a container starts only: that is rare, and there may be many."""
    tokens: Mapping[TokenKey, str] = field(default_factory=dict, repr=False)
    """There when volumes are made only."""
    runtime_class: RuntimeClass | None = None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is true of the machine, for the downward API and for what a pod may ask of it."""

    address: str
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int = 0
    selinux: bool = False
    """Whether the machine has it."""
    unsafe_sysctls: tuple[str, ...] = ()
    """What pods may set beside the safe ones."""

    @classmethod
    def of(
        cls,
        address: str,
        capacity: Mapping[str, str],
        *,
        selinux: bool = False,
        unsafe_sysctls: Sequence[str] = (),
    ) -> HostFacts:
        """From the node's capacity."""
        return cls(
            address,
            quantity.milli(capacity["cpu"]),
            quantity.whole(capacity["memory"]),
            quantity.whole(capacity["ephemeral-storage"]),
            selinux,
            tuple(unsafe_sysctls),
        )


def environment(
    pod: Pod, container: Container, config: Config, host: HostFacts, *, pod_address: str
) -> dict[str, str]:
    """The variables of a container; later ones see earlier ones as $(NAME). Raises ConfigError."""
    services = [codec.decode(data, Service) for data in config.services]
    result: dict[str, str] = {**service_variables(services), "HOSTNAME": hostname(pod)}
    for source in container.envFrom:
        result |= _all_entries(source.prefix, source.configMapRef, config.config_maps, "configmap")
        result |= _all_entries(source.prefix, source.secretRef, config.secrets, "secret")
    for variable in container.env:
        if variable.valueFrom is None:
            field = f"spec.containers[{container.name}].env[{variable.name}]"
            result[variable.name] = expand(variable.value, result, field)
            continue
        value = _value_from(variable.valueFrom, pod, container, config, host, pod_address)
        if value is not None:
            result[variable.name] = value
    for name, value in result.items():
        # As the kernel counts it: NAME=VALUE is one text.
        texts.argument(f"spec.containers[{container.name}].env[{name}]", f"{name}={value}")
    return result


def service_variables(services: Sequence[Service]) -> dict[str, str]:
    """The addresses of Services that have one: in Kubernetes' form, and in that of Docker links.

    Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    result: dict[str, str] = {}
    for service in services:
        address, ports = service.spec.clusterIP, service.spec.ports
        if address in ("", "None") or not ports:
            continue
        name = _variable_name(service.metadata.name)
        result[f"{name}_SERVICE_HOST"] = address
        result[f"{name}_SERVICE_PORT"] = str(ports[0].port)
        for port in ports:
            if port.name:
                result[f"{name}_SERVICE_PORT_{_variable_name(port.name)}"] = str(port.port)
        result[f"{name}_PORT"] = _link(address, ports[0])
        for port in ports:
            protocol = port.protocol or "TCP"
            prefix = f"{name}_PORT_{port.port}_{protocol.upper()}"
            result[prefix] = _link(address, port)
            result[f"{prefix}_PROTO"] = protocol.lower()
            result[f"{prefix}_PORT"] = str(port.port)
            result[f"{prefix}_ADDR"] = address
    return result


def _variable_name(text: str) -> str:
    return text.replace("-", "_").upper()


def _link(address: str, port: ServicePort) -> str:
    """`tcp://10.0.0.1:80`."""
    host = f"[{address}]" if ":" in address else address
    return f"{(port.protocol or 'TCP').lower()}://{host}:{port.port}"


def hostname(pod: Pod) -> str:
    """The host name that a pod sees, which may be its whole name in the DNS. Raises ConfigError."""
    short, whole = names(pod)
    if not pod.spec.setHostnameAsFQDN or pod.spec.hostnameOverride is not None:
        return short
    if len(whole) > HOSTNAME_MAX:
        raise ConfigError(
            "failed to construct FQDN from pod hostname and cluster domain, "
            f"FQDN {whole} is too long ({HOSTNAME_MAX} characters is the max, "
            f"{len(whole)} characters requested)"
        )
    return whole


def names(pod: Pod) -> tuple[str, str]:
    """(host name, the pod's whole name in the DNS); they are the same without a subdomain."""
    spec = pod.spec
    if spec.hostnameOverride is not None:
        short, domain = spec.hostnameOverride, ""
    else:
        short, domain = spec.hostname or pod.metadata.name, spec.subdomain
    short = short[: HOSTNAME_MAX - 1].rstrip("-.")
    if not domain:
        return short, short
    return short, f"{short}.{domain}.{pod.metadata.namespace}.svc.{CLUSTER_DOMAIN}"


def references(text: str) -> list[str]:
    """The names of the variables that a text refers to."""
    return [found[1] for found in _REFERENCE.finditer(text) if found[0] != "$$"]


def expand(text: str, variables: Mapping[str, str], field: str) -> str:
    """Replace $(NAME) by the variable, $$ by $; references to nothing stay as they are.

    Variables that refer to each other can double the text each time: expansion stops as soon as it
    is too long for a program. Raises ConfigError that names `field`.
    """
    length = len(text)

    def replace(found: re.Match[str]) -> str:
        nonlocal length
        value = "$" if found[0] == "$$" else variables.get(found[1], found[0])
        length += len(value) - len(found[0])
        if length >= texts.ARGUMENT_MAX_BYTES and len(value) > len(found[0]):
            raise ConfigError(f"{field}: must have less than {texts.ARGUMENT_MAX_BYTES} bytes")
        return value

    return _REFERENCE.sub(replace, text)


def _all_entries(
    prefix: str, reference: object, known: Mapping[str, ConfigMap | Secret], kind: str
) -> dict[str, str]:
    """Every entry of a ConfigMap or Secret as variables."""
    if reference is None:
        return {}
    name: str = reference.name  # type: ignore[attr-defined]
    source = known.get(name)
    if source is None:
        if reference.optional:  # type: ignore[attr-defined]
            return {}
        raise ConfigError(f'{kind} "{name}" not found')
    return {
        prefix + key: value
        for key, value in _texts(source).items()
        if _ENV_NAME.fullmatch(prefix + key)
    }


def _texts(source: ConfigMap | Secret) -> dict[str, str]:
    if isinstance(source, ConfigMap):
        return source.data
    return {key: value.decode("utf-8", "replace") for key, value in source.data.items()}


def _value_from(
    source: EnvVarSource,
    pod: Pod,
    container: Container,
    config: Config,
    host: HostFacts,
    pod_address: str,
) -> str | None:
    """The value of one variable; None when an optional source is missing."""
    if source.configMapKeyRef is not None:
        return _key(source.configMapKeyRef, config.config_maps, "configmap", pod)
    if source.secretKeyRef is not None:
        return _key(source.secretKeyRef, config.secrets, "secret", pod)
    if source.fieldRef is not None:
        return pod_field(source.fieldRef, pod, host, pod_address)
    if source.resourceFieldRef is not None:
        return resource_field(source.resourceFieldRef, pod, container, host)
    raise ConfigError("env: valueFrom names a source that is not supported")


def _key(
    reference: object, known: Mapping[str, ConfigMap | Secret], kind: str, pod: Pod
) -> str | None:
    name: str = reference.name  # type: ignore[attr-defined]
    key: str = reference.key  # type: ignore[attr-defined]
    optional = bool(reference.optional)  # type: ignore[attr-defined]
    source = known.get(name)
    if source is None:
        if optional:
            return None
        raise ConfigError(f'{kind} "{name}" not found')
    texts = _texts(source)
    if key not in texts:
        if optional:
            return None
        title = "ConfigMap" if kind == "configmap" else "Secret"
        raise ConfigError(f"couldn't find key {key} in {title} {pod.metadata.namespace}/{name}")
    return texts[key]


def pod_field(reference: ObjectFieldSelector, pod: Pod, host: HostFacts, pod_address: str) -> str:
    """A field of the pod itself, as the downward API names it. Raises ConfigError."""
    path, meta = reference.fieldPath, pod.metadata
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if keyed:
        values: Mapping[str, str] = getattr(meta, keyed[1])
        return values.get(keyed[2], "")
    address = host.address if pod.spec.hostNetwork else pod_address
    known = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.nodeName": pod.spec.nodeName,
        "spec.serviceAccountName": pod.spec.serviceAccountName,
        "status.hostIP": host.address,
        "status.hostIPs": host.address,
        "status.podIP": address,
        "status.podIPs": address,
        "metadata.labels": _lines(meta.labels),
        "metadata.annotations": _lines(meta.annotations),
    }
    if path not in known:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return known[path]


def _lines(pairs: Mapping[str, str]) -> str:
    """Labels or annotations as the downward API writes them into files."""
    import json

    quoted = ((key, json.dumps(value, ensure_ascii=False)) for key, value in sorted(pairs.items()))
    return "\n".join(f"{key}={value}" for key, value in quoted)


def resource_field(
    reference: ResourceFieldSelector, pod: Pod, container: Container, host: HostFacts
) -> str:
    """A limit or request of a container, divided and rounded up. Raises ConfigError."""
    owner = container
    if reference.containerName:
        names = {c.name: c for c in (*pod.spec.initContainers, *pod.spec.containers)}
        if reference.containerName not in names:
            raise ConfigError(f"container {reference.containerName} not found")
        owner = names[reference.containerName]
    kind, _, name = reference.resource.partition(".")
    values = owner.resources.limits if kind == "limits" else owner.resources.requests
    defaults = {
        "cpu": host.cpu_milli,
        "memory": host.memory_bytes * 1000,
        "ephemeral-storage": host.disk_bytes * 1000,
    }
    if name in values:
        milli = quantity.milli(values[name])
    elif kind == "limits" and name in defaults:
        milli = defaults[name]
    else:
        milli = 0
    divisor = quantity.milli(reference.divisor) if reference.divisor else 0
    divisor = divisor or 1000  # not given, or 0
    return str(-(-milli // divisor))
