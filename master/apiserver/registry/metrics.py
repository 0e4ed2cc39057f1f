"""metrics.k8s.io: usage of nodes and pods, from what nodes have reported last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from common.api import quantity, times
from common.api.codec import json as codec
from common.api.types.meta_v1 import ObjectMeta
from common.api.types.metrics_v1beta1 import ContainerMetrics, NodeMetrics, PodMetrics
from protos.node_v1_pb2 import NodeUsage

Usages = Callable[[], Mapping[str, NodeUsage]]
"""The last usage that each connected node has reported."""


class NodeMetricsView:
    """nodes.metrics.k8s.io."""

    def __init__(self, usages: Usages) -> None:
        self._usages = usages

    def list(self, namespace: str) -> list[bytes]:
        """One object a node, by name."""
        return [codec.encode(_node(name, usage)) for name, usage in sorted(self._usages().items())]


class PodMetricsView:
    """pods.metrics.k8s.io."""

    def __init__(self, usages: Usages) -> None:
        self._usages = usages

    def list(self, namespace: str) -> list[bytes]:
        """One object a pod, by namespace and name."""
        found = [pod for usage in self._usages().values() for pod in _pods(usage)]
        found.sort(key=lambda pod: (pod.metadata.namespace, pod.metadata.name))
        return [codec.encode(pod) for pod in found if namespace in ("", pod.metadata.namespace)]


def _node(name: str, usage: NodeUsage) -> NodeMetrics:
    return NodeMetrics(
        metadata=ObjectMeta(name=name, creationTimestamp=times.to_time(_moment(usage))),
        timestamp=times.to_time(_moment(usage)),
        window=_window(usage),
        usage={
            "cpu": quantity.from_nano(usage.cpu_nanocores),
            "memory": quantity.from_kibibytes(usage.memory_working_set_bytes),
        },
    )


def _pods(usage: NodeUsage) -> Iterable[PodMetrics]:
    for pod in usage.pods:
        yield PodMetrics(
            metadata=ObjectMeta(
                name=pod.name,
                namespace=pod.namespace,
                creationTimestamp=times.to_time(_moment(usage)),
            ),
            timestamp=times.to_time(_moment(usage)),
            window=_window(usage),
            containers=tuple(
                ContainerMetrics(
                    name=container.name,
                    usage={
                        "cpu": quantity.from_nano(container.cpu_nanocores),
                        "memory": quantity.from_kibibytes(container.memory_working_set_bytes),
                    },
                )
                for container in pod.containers
            ),
        )


def _moment(usage: NodeUsage) -> datetime:
    return datetime.fromtimestamp(usage.timestamp_ms / 1000, UTC)


def _window(usage: NodeUsage) -> str:
    return f"{usage.window_ms / 1000:g}s"
