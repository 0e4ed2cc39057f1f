"""How much a pod may say of where it runs: the scheduler compares it all with all there is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.apiserver.conftest import Writer
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

HARD = "requiredDuringSchedulingIgnoredDuringExecution"
SOFT = "preferredDuringSchedulingIgnoredDuringExecution"


def term(selector: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"labelSelector": selector or {}, "topologyKey": "zone"}


def affinity(which: str, kind: str, value: Any) -> dict[str, Any]:
    return pod(affinity={which: {kind: value}})


def fits(count: int, one: dict[str, Any]) -> dict[str, Any]:
    """Node selector terms."""
    return affinity("nodeAffinity", HARD, {"nodeSelectorTerms": [one] * count})


def spread(count: int, **more: Any) -> dict[str, Any]:
    constraint = {"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    return pod(
        topologySpreadConstraints=[
            {**constraint, "topologyKey": f"k{number}", **more} for number in range(count)
        ]
    )


def exists(count: int) -> list[dict[str, Any]]:
    return [{"key": f"k{number}", "operator": "Exists"} for number in range(count)]


def selecting(count: int) -> dict[str, Any]:
    return affinity("podAntiAffinity", HARD, [term({"matchExpressions": exists(count)})])


CASES = {
    "nodeSelector": (64, lambda n: pod(nodeSelector={f"k{i}": "v" for i in range(n)})),
    "tolerations": (256, lambda n: pod(tolerations=[{"operator": "Exists"}] * n)),
    "spread": (16, spread),
    "spread's selector": (
        16,
        lambda n: spread(1, labelSelector={"matchLabels": {f"k{i}": "v" for i in range(n)}}),
    ),
    "node terms": (64, lambda n: fits(n, {"matchExpressions": exists(1)})),
    "a node term": (64, lambda n: fits(1, {"matchExpressions": exists(n)})),
    "preferred nodes": (
        64,
        lambda n: affinity("nodeAffinity", SOFT, [{"weight": 1, "preference": {}}] * n),
    ),
    "near": (16, lambda n: affinity("podAffinity", HARD, [term()] * n)),
    "apart": (16, lambda n: affinity("podAntiAffinity", HARD, [term()] * n)),
    "rather apart": (
        16,
        lambda n: affinity("podAntiAffinity", SOFT, [{"weight": 1, "podAffinityTerm": term()}] * n),
    ),
    "a pod term's selector": (16, selecting),
}


@pytest.mark.parametrize("name", CASES)
def test_a_pod_says_no_more_than_can_be_compared_in_time(writer: Writer, name: str) -> None:
    limit, body = CASES[name]
    assert writer.create_problems("pods", body(limit)) == []
    [problem] = writer.create_problems("pods", body(limit + 1))
    assert problem.endswith(f"Too many: {limit + 1}: must have at most {limit} items")
