"""How large a stored selector may be: controllers compare it with every pod of its namespace."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.apiserver.conftest import Writer
from tests.unit.apiserver.resources.test_workload_rules import (
    LABELS,
    controller,
    template,
    workload,
)

WORKLOADS = ["daemonsets.apps", "deployments.apps", "replicasets.apps", "statefulsets.apps"]


def selecting(expressions: list[dict[str, Any]]) -> dict[str, Any]:
    return workload(selector={"matchLabels": LABELS, "matchExpressions": expressions})


def absent(count: int) -> list[dict[str, Any]]:
    return [{"key": f"k{number}", "operator": "DoesNotExist"} for number in range(count)]


@pytest.mark.parametrize("resource", WORKLOADS)
def test_requirements(writer: Writer, resource: str) -> None:
    most = 256 - len(LABELS)
    assert writer.create_problems(resource, selecting(absent(most))) == []
    [problem] = writer.create_problems(resource, selecting(absent(most + 1)))
    assert problem == "spec.selector: Too many: 257: must have at most 256 items"


def test_values(writer: Writer) -> None:
    def problems(count: int) -> list[str]:
        values = [f"{number:04}" for number in range(count)]
        expression = {"key": "other", "operator": "NotIn", "values": values}
        return writer.create_problems("deployments.apps", selecting([expression]))

    assert problems(4096) == []
    assert problems(4097) == ["spec.selector: Too long: may not be more than 16384 bytes"]


@pytest.mark.parametrize("resource", ["replicationcontrollers", "services"])
def test_pairs(writer: Writer, resource: str) -> None:
    def problems(count: int) -> list[str]:
        labels = {f"k{number}": "v" for number in range(count)}
        if resource == "services":
            spec = {"selector": labels, "ports": [{"port": 80}]}
            return writer.create_problems(resource, {"metadata": {"name": "a"}, "spec": spec})
        made = {**template(), "metadata": {"labels": labels}}
        return writer.create_problems(resource, controller(selector=labels, template=made))

    assert problems(256) == []
    assert problems(257) == ["spec.selector: Too many: 257: must have at most 256 items"]


def test_subsets_of_endpoints(writer: Writer) -> None:
    def problems(count: int) -> list[str]:
        subsets = [
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": n + 1}]} for n in range(count)
        ]
        return writer.create_problems("endpoints", {"metadata": {"name": "a"}, "subsets": subsets})

    assert problems(128) == []
    assert problems(129) == ["subsets: Too many: 129: must have at most 128 items"]
