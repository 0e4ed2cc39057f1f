"""Events by their two versions: what each refuses. A kube-apiserver's answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from master.apiserver.registry.registry import Registry
from master.apiserver.request.bodies import Body
from master.apiserver.request.mediatypes import MERGE_PATCH
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from tests.unit.apiserver.request.test_patches import EVENTS, VIEWED, context, refused
from tests.unit.apiserver.request.test_patches import registry as registry

TIME = "2026-01-01T00:00:00.000000Z"
ABOUT = {"namespace": "n", "kind": "Pod", "name": "p"}
WHO = {"reportingInstance": "i", "action": "a", "reason": "r"}
NEW = {
    **WHO,
    "metadata": {"name": "e"},
    "regarding": ABOUT,
    "eventTime": TIME,
    "type": "Normal",
    "reportingController": "a.b/c",
}
NAMELESS = ["action", "reason", "reportingInstance"]


async def create(registry: Registry, view: bool, plain: dict[str, Any]) -> Any:
    body = Body(json.dumps({"metadata": {"name": "e"}, **plain}).encode())
    kind = VIEWED if view else EVENTS
    return json.loads(await registry.create(context(), Target(kind, "n"), body))


@pytest.mark.parametrize(
    ("view", "plain", "fields"),
    [
        (False, {"involvedObject": ABOUT, "type": "Foo"}, []),
        (False, {"involvedObject": ABOUT, "eventTime": TIME}, ["reportingComponent", *NAMELESS]),
        (False, {"involvedObject": {"namespace": "m"}}, ["involvedObject.namespace"]),
        (False, {"involvedObject": {}}, ["involvedObject.namespace"]),
        (
            False,
            {
                "involvedObject": ABOUT,
                "eventTime": TIME,
                "reportingComponent": "a b",
                "reportingInstance": "i" * 129,
                "action": "a" * 129,
                "reason": "r" * 129,
                "message": "m" * 1025,
            },
            ["message", "reportingComponent", *NAMELESS],
        ),
        (True, NEW, []),
        (True, {"regarding": ABOUT}, ["eventTime", "type"]),
        (True, {**NEW, "metadata": {"name": "UPPER"}}, ["metadata.name"]),
        (False, {"involvedObject": ABOUT, "metadata": {"name": "UPPER"}}, []),
        (
            True,
            {
                "regarding": ABOUT,
                "eventTime": TIME,
                "type": "Foo",
                "deprecatedCount": 1,
                "deprecatedSource": {"host": "h"},
                "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
                "deprecatedLastTimestamp": "2026-01-01T00:00:00Z",
                "series": {"count": 1},
            },
            [
                "count",
                "firstTimestamp",
                "lastTimestamp",
                "reportingController",
                "series.count",
                "series.lastObservedTime",
                "source",
                "type",
                *NAMELESS,
            ],
        ),
    ],
)
async def test_new_events(
    registry: Registry, view: bool, plain: dict[str, Any], fields: list[str]
) -> None:
    if not fields:
        await create(registry, view, plain)
        return
    error = await refused(create(registry, view, plain))
    assert error.code == 422
    assert error.details is not None
    assert sorted({cause["field"] for cause in error.details["causes"]}) == sorted(fields)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"series": {"count": 2, "lastObservedTime": TIME}}, None),
        ({"metadata": {"labels": {"a": "b"}}}, None),
        ({"series": {"count": 1, "lastObservedTime": TIME}}, "series.count"),
        ({"note": "other"}, "message"),
        ({"type": "Warning"}, "type"),
        ({"reportingController": "d"}, "reportingController"),
    ],
)
async def test_changed_events(
    registry: Registry, change: dict[str, Any], field: str | None
) -> None:
    await create(registry, True, NEW)
    wanted = Patch(json.dumps(change).encode(), MERGE_PATCH)
    call = registry.patch(context(), Target(VIEWED, "n", "e"), wanted)
    if field is None:
        await call
        return
    error = await refused(call)
    assert error.details is not None
    assert (error.code, error.details["causes"][0]["field"]) == (422, field)
    core = Patch(json.dumps({"message": "other"}).encode(), MERGE_PATCH)
    await registry.patch(context(), Target(EVENTS, "n", "e"), core)
