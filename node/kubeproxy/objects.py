"""What rules need of Services and EndpointSlices: Structs that read nothing else. Pure.

The API's own Structs are not imported here: their module alone takes 4 MiB of a proxy's memory.
Names and types of fields are the API's.
"""

from __future__ import annotations

from msgspec import Struct, field
from msgspec.json import Decoder, Encoder


class _Part(Struct, gc=False, omit_defaults=True):
    """There are no cycles for the collector to look for."""


class ServiceLabels(_Part):
    """Labels that say that a service is not ours to serve; None when a service has no such."""

    headless: str | None = field(default=None, name="service.kubernetes.io/headless")
    proxy_name: str | None = field(default=None, name="service.kubernetes.io/service-proxy-name")


class ServiceMetadata(_Part):
    """The part of ObjectMeta that a service's rules need."""

    labels: ServiceLabels = field(default_factory=ServiceLabels)


class ClientIPConfig(_Part):
    """ClientIPConfig of v1."""

    timeoutSeconds: int | None = None


class SessionAffinityConfig(_Part):
    """SessionAffinityConfig of v1."""

    clientIP: ClientIPConfig | None = None


class PortSpec(_Part):
    """ServicePort of v1."""

    name: str = ""
    protocol: str = ""
    port: int = 0
    nodePort: int = 0


class ServiceSpec(_Part):
    """ServiceSpec of v1."""

    type: str = ""
    clusterIP: str = ""
    externalIPs: tuple[str, ...] = ()
    ports: tuple[PortSpec, ...] = ()
    sessionAffinity: str = ""
    sessionAffinityConfig: SessionAffinityConfig | None = None
    internalTrafficPolicy: str | None = None
    externalTrafficPolicy: str = ""


class Service(_Part):
    """Service of v1."""

    metadata: ServiceMetadata = field(default_factory=ServiceMetadata)
    spec: ServiceSpec = field(default_factory=ServiceSpec)


class SliceLabels(_Part):
    """Labels that say whose endpoints a slice has, and who made it."""

    service_name: str = field(default="", name="kubernetes.io/service-name")
    managed_by: str = field(default="", name="endpointslice.kubernetes.io/managed-by")


class SliceMetadata(_Part):
    """The part of ObjectMeta that says whose a slice is."""

    labels: SliceLabels = field(default_factory=SliceLabels)


class EndpointConditions(_Part):
    """EndpointConditions of discovery.k8s.io/v1."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(_Part):
    """Endpoint of discovery.k8s.io/v1."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = field(default_factory=EndpointConditions)
    nodeName: str | None = None


class EndpointPort(_Part):
    """EndpointPort of discovery.k8s.io/v1."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSlice(_Part):
    """EndpointSlice of discovery.k8s.io/v1."""

    metadata: SliceMetadata = field(default_factory=SliceMetadata)
    addressType: str = ""
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


encode = Encoder().encode
"""The JSON of one of these: equal bytes lead to equal rules."""
read_service = Decoder(Service).decode
read_slice = Decoder(EndpointSlice).decode
