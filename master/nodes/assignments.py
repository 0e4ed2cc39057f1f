"""What a node is told: its pods, with just the ConfigMaps, Secrets and classes that they reference.

The Services that a pod's containers see as variables go with it, as they are then. They are read
when a container starts, as Kubernetes does; so a Service that changes is no reason to tell again.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.api.codec import json as codec
from common.api.podreferences import (
    CONFIG_MAPS,
    RUNTIME_CLASSES,
    SECRETS,
    Reference,
    references,
)
from common.api.types.core_v1 import Pod, Service, ServiceSpec
from common.api.types.meta_v1 import ObjectMeta
from common.client.informer import Item, Lister
from protos import node_v1_pb2

KUBERNETES = "kubernetes"


def services_of(pod: Pod, services: Lister) -> list[bytes]:
    """The Services that a pod's containers see: those of its namespace, and `kubernetes` always.

    A namespace's own Service of that name comes before the one of `default`. Only what variables
    are made of is sent, and nothing of a Service without an address: there may be thousands.
    """
    links = pod.spec.enableServiceLinks is not False
    linked = {item.name: item for item in services.list(pod.metadata.namespace) if links}
    always = services.get("default", KUBERNETES)
    if always is not None:
        linked.setdefault(KUBERNETES, always)
    whole = [codec.decode(item.data, Service) for _, item in sorted(linked.items())]
    return [
        codec.encode(
            Service(
                metadata=ObjectMeta(name=one.metadata.name, namespace=one.metadata.namespace),
                spec=ServiceSpec(clusterIP=one.spec.clusterIP, ports=one.spec.ports),
            )
        )
        for one in whole
        if one.spec.clusterIP not in ("", "None")
    ]


def assignment(
    item: Item, listers: Mapping[str, Lister]
) -> tuple[node_v1_pb2.ToNode, set[Reference]]:
    """The message that carries a pod to its node, and what the pod references.

    `listers`: of what may be told of, by plural.
    """
    pod = codec.decode(item.data, Pod)
    wanted = references(pod)
    carried: dict[str, list[bytes]] = {CONFIG_MAPS: [], SECRETS: [], RUNTIME_CLASSES: []}
    for resource, namespace, name in sorted(wanted):
        referenced = listers[resource].get(namespace, name)
        if referenced is not None:
            carried[resource].append(referenced.data)
    message = node_v1_pb2.PodAssignment(
        pod=item.data,
        config_maps=carried[CONFIG_MAPS],
        secrets=carried[SECRETS],
        services=services_of(pod, listers["services"]),
        runtime_class=b"".join(carried[RUNTIME_CLASSES]),
    )
    return node_v1_pb2.ToNode(pod=message), wanted
