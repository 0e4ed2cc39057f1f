"""metrics.k8s.io: usage of nodes and pods, from what nodes have reported last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from common.api import quantity, times
from common.api.codec import json as codec
from common.api.types.meta_v1 import ObjectMeta
from common.api.types.metrics_v1beta1 import ContainerMetrics, NodeMetrics, PodMetrics
from master.storage.watchcache import WatchCache
from protos.node_v1_pb2 import NodeUsage

Usages = Callable[[], Mapping[str, NodeUsage]]
"""The last usage that each connected node has reported."""
Labels = Callable[[str, str], Mapping[str, str] | None]
"""(namespace, name) -> the labels of the pod or node; None when there is no such object."""


def labels_in(cache: WatchCache, plural: str) -> Labels:
    """The labels of the objects of a resource of the core group."""

    def labels(namespace: str, name: str) -> Mapping[str, str] | None:
        entry = cache.find(plural, name, namespace)
        return None if entry is None else entry.labels

    return labels


class NodeMetricsView:
    """nodes.metrics.k8s.io; selectors choose by the labels of the nodes."""

    def __init__(self, usages: Usages, labels: Labels) -> None:
        self._usages = usages
        self._labels = labels

    def list(self, namespace: str) -> list[bytes]:
        """One object a node, by name."""
        figures = [_node(name, usage) for name, usage in sorted(self._usages().items())]
        return [codec.encode(one) for one in figures if _label(one.metadata, self._labels)]


class PodMetricsView:
    """pods.metrics.k8s.io; selectors choose by the labels of the pods."""

    def __init__(self, usages: Usages, labels: Labels) -> None:
        self._usages = usages
        self._labels = labels

    def list(self, namespace: str) -> list[bytes]:
        """One object a pod, by namespace and name."""
        figures = [pod for usage in self._usages().values() for pod in _pods(usage)]
        figures.sort(key=lambda pod: (pod.metadata.namespace, pod.metadata.name))
        here = [pod for pod in figures if namespace in ("", pod.metadata.namespace)]
        return [codec.encode(pod) for pod in here if _label(pod.metadata, self._labels)]


def _label(meta: ObjectMeta, labels: Labels) -> bool:
    """Give the figures the labels of what they are of; False when that is gone."""
    labels_of = labels(meta.namespace, meta.name)
    meta.labels = dict(labels_of or {})
    return labels_of is not None


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
    return times.later(times.EPOCH, usage.timestamp_ms / 1000)


def _window(usage: NodeUsage) -> str:
    return f"{usage.window_ms / 1000:g}s"
