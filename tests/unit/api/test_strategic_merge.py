"""Strategic merge patches against a table of upstream's results, and their cost.

Each line of the table holds an object, a patch, and what k8s.io/apimachinery makes of them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from common.api import errors, patch, schema
from common.api.scheme import SCHEME

TABLE = Path(__file__).parent / "golden" / "strategic_merge.jsonl"
CASES = [json.loads(line) for line in TABLE.read_text().splitlines()]
POD = schema.message("core_v1", "Pod")
GROUPS = {"Deployment": "apps/v1"}


def message(kind: str) -> schema.Message:
    found = SCHEME.kind(GROUPS.get(kind, "v1"), kind)
    assert found is not None
    return schema.message(found.module, found.name)


def without_nulls(value: Any) -> Any:
    """A null member means the same as none."""
    if isinstance(value, dict):
        return {key: without_nulls(its) for key, its in value.items() if its is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=range(1, len(CASES) + 1))
def test_the_merge_is_upstreams(case: dict[str, Any]) -> None:
    before = json.dumps([case["original"], case["patch"]])
    if "error" in case:
        with pytest.raises(errors.StatusError) as raised:
            patch.strategic(case["original"], case["patch"], message(case["kind"]))
        assert raised.value.code in (400, 422)
    else:
        found = patch.strategic(case["original"], case["patch"], message(case["kind"]))
        assert without_nulls(found) == without_nulls(case["result"])
    assert json.dumps([case["original"], case["patch"]]) == before


def named(numbers: range, **more: str) -> list[dict[str, Any]]:
    return [{"name": f"V{number}", **more} for number in numbers]


def container(**more: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", **more}]}}


TEXTS = [f"example.org/{number}" for number in range(30_000)]


@pytest.mark.parametrize(
    ("target", "change"),
    [
        (container(env=named(range(10_000))), container(env=named(range(5_000, 15_000)))),
        (
            container(env=named(range(10_000))),
            container(
                env=named(range(9_999, -1, -1)),
                **{"$setElementOrder/env": named(range(9_999, -1, -1))},
            ),
        ),
        (
            container(env=named(range(10_000))),
            container(env=named(range(10_000), **{"$patch": "delete"})),
        ),
        (
            {"metadata": {"finalizers": TEXTS[:20_000]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": TEXTS[10_000:]}},
        ),
        (
            {"metadata": {"finalizers": TEXTS[:20_000]}},
            {"metadata": {"finalizers": TEXTS[10_000:][::-1]}},
        ),
    ],
)
def test_the_cost_is_linear(target: dict[str, Any], change: dict[str, Any]) -> None:
    def seconds() -> float:
        start = time.process_time()
        patch.strategic(target, change, POD)
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.5  # quadratic, it is ten seconds and more
