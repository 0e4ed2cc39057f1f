"""Figures of metrics.k8s.io: of what is there, and chosen by its labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.codec import protobuf
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from master.apiserver.registry.computed import Computed
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.options import ListOptions
from master.apiserver.request.target import Target
from master.apiserver.resources.metrics.metrics import NodeMetricsView, PodMetricsView, labels_in
from protos.node_v1_pb2 import NodeUsage
from tests.fakes import registry as fakes
from tests.unit.apiserver.registry.test_pipeline_pods import create
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

PODS = SCHEME.resource("metrics.k8s.io", "v1beta1", "pods")


def usage(*pods: str) -> NodeUsage:
    made = NodeUsage(timestamp_ms=1, window_ms=15_000)
    for name in pods:
        made.pods.add(name=name, namespace="n")
    return made


def names(items: Any) -> list[str]:
    return [codec.decode_plain(item)["metadata"]["name"] for item in items]


def test_nodes_have_their_labels() -> None:
    known: Mapping[str, Mapping[str, str]] = {"node1": {"zone": "a"}}
    view = NodeMetricsView(
        lambda: {"node1": usage(), "gone": usage()}, lambda _, name: known.get(name)
    )
    [one] = view.list("")
    assert codec.decode_plain(one)["metadata"]["labels"] == {"zone": "a"}


async def test_selectors_choose_pods(pipeline: Pipeline) -> None:
    for name in ("a", "b"):
        plain = pod()
        plain["metadata"] = {"name": name, "labels": {"app": name}}
        await create(pipeline, plain)
    await pipeline.cache.wait_for(await pipeline.store.revision(), 5.0)
    view = PodMetricsView(
        lambda: {"node1": usage("a", "b", "gone")}, labels_in(pipeline.cache, "pods")
    )
    registry = fakes.registry(pipeline, handlers={"pods.metrics.k8s.io": Computed(view, pipeline)})
    assert PODS is not None
    for options, expected in (
        (ListOptions(), ["a", "b"]),
        (ListOptions(label_selector="app=b"), ["b"]),
        (ListOptions(field_selector="metadata.name=a"), ["a"]),
        (ListOptions(label_selector="app!=a,app!=b"), []),
    ):
        assert names((await registry.list(Target(PODS, "n"), options)).items) == expected
    with pytest.raises(StatusError):
        await registry.list(Target(PODS, "n"), ListOptions(label_selector="a in"))


@pytest.mark.parametrize("milliseconds", [2**62, -(2**62), 2**63 - 1, 0])
def test_figures_of_any_time_can_be_shown_in_every_format(milliseconds: int) -> None:
    odd = NodeUsage(timestamp_ms=milliseconds, window_ms=milliseconds)
    odd.pods.add(name="p", namespace="n")
    nodes = NodeMetricsView(lambda: {"node1": odd, "node2": usage()}, lambda _, __: {})
    pods = PodMetricsView(lambda: {"node1": odd}, lambda _, __: {})
    found = [*nodes.list(""), *pods.list("n")]
    assert len(found) == 3
    for data in found:
        assert protobuf.encode(codec.decode_plain(data)).startswith(protobuf.MAGIC)
