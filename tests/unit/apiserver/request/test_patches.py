"""What clients' bodies and patches may say, what they are told, and how much of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.api.types.apps_v1 import ControllerRevision
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.registry import Registry
from master.apiserver.registry.view import Viewed
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context, Warnings
from master.apiserver.request.mediatypes import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.apiserver.resources.apps.scale import ScaleSubresource
from master.apiserver.resources.core.event import EventView
from tests.fakes import registry as fakes


def resource(group: str, version: str, plural: str) -> Resource:
    found = SCHEME.resource(group, version, plural)
    assert found is not None
    return found


CONFIG_MAPS, DEPLOYMENTS = resource("", "v1", "configmaps"), resource("apps", "v1", "deployments")
EVENTS, VIEWED = resource("", "v1", "events"), resource("events.k8s.io", "v1", "events")
LABELS = {"app": "d"}
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    },
}


@pytest.fixture
async def registry(pipeline: Pipeline) -> Registry:
    """The registry with the objects `c` and `d`."""
    made = fakes.registry(
        pipeline,
        handlers={"events.events.k8s.io": Viewed(EventView(EVENTS), fakes.stored(pipeline))},
        subresources={"scale": ScaleSubresource(pipeline)},
    )
    config = {"metadata": {"name": "c"}, "data": {"k": "v"}}
    for kind, plain in ((CONFIG_MAPS, config), (DEPLOYMENTS, DEPLOYMENT)):
        data = await made.create(context(), Target(kind, "n"), body(plain))
        revision = int(json.loads(data)["metadata"]["resourceVersion"])
        await pipeline.cache.wait_for(revision, 5.0)
    return made


def context(validation: str = "Warn") -> Context:
    return Context(user=Identity("u"), field_validation=validation)


def body(plain: Any) -> Body:
    return Body(json.dumps(plain).encode())


Patching = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def patch(registry: Registry) -> Patching:
    """Patches the ConfigMap `c`, or the Deployment `d` or its scale."""

    async def run(
        change: Any, media_type: str, ctx: Context | None = None, *, name: str = "c", sub: str = ""
    ) -> dict[str, Any]:
        kind = CONFIG_MAPS if name == "c" else DEPLOYMENTS
        data = change if isinstance(change, bytes) else json.dumps(change).encode()
        target, wanted = Target(kind, "n", name, sub), Patch(data, media_type)
        found = await registry.patch(ctx or context(), target, wanted)
        return dict(json.loads(found))

    return run


async def refused(call: Awaitable[Any]) -> StatusError:
    with pytest.raises(StatusError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize("kind", ["Deployment", "Zap", 5])
async def test_a_strategic_patch_says_nothing_by_its_kind(patch: Patching, kind: Any) -> None:
    found = await patch({"kind": kind, "spec": {"replicas": 2}}, STRATEGIC_MERGE_PATCH, name="d")
    assert (found["kind"], found["spec"]["replicas"]) == ("Deployment", 2)
    change = {"apiVersion": "v1", "kind": kind, "spec": {"replicas": 3}}
    scale = await patch(change, STRATEGIC_MERGE_PATCH, name="d", sub="scale")
    assert (scale["apiVersion"], scale["kind"]) == ("autoscaling/v1", "Scale")
    assert scale["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("media_type", "change"),
    [
        (MERGE_PATCH, {"kind": "Zap"}),
        (MERGE_PATCH, {"apiVersion": "v2"}),
        (JSON_PATCH, [{"op": "replace", "path": "/kind", "value": "Pod"}]),
    ],
)
async def test_other_patches_may_not_say_another_kind(
    patch: Patching, media_type: str, change: Any
) -> None:
    error = await refused(patch(change, media_type))
    assert error.code == 422
    assert "is registered for version" in error.message


async def test_what_a_patch_leaves_out_of_the_type_stays(patch: Patching) -> None:
    found = await patch({"kind": None, "apiVersion": None, "data": {"k": "w"}}, MERGE_PATCH)
    assert (found["kind"], found["data"]) == ("ConfigMap", {"k": "w"})


@pytest.mark.parametrize(
    ("metadata", "code", "text"),
    [
        ({"name": "x"}, 400, "the name of the object (x) does not match the name on the URL (c)"),
        ({"name": None}, 400, "was undeterminable: name must be provided"),
        ({"namespace": "x"}, 400, "does not match the namespace sent on the request"),
        ({"uid": "x"}, 422, 'metadata.uid: Invalid value: "x": field is immutable'),
    ],
)
@pytest.mark.parametrize("media_type", [MERGE_PATCH, STRATEGIC_MERGE_PATCH])
async def test_a_patch_cannot_make_another_object(
    patch: Patching, media_type: str, metadata: dict[str, Any], code: int, text: str
) -> None:
    error = await refused(patch({"metadata": metadata}, media_type))
    assert error.code == code
    assert text in error.message


@pytest.mark.parametrize(
    ("media_type", "change"),
    [
        (MERGE_PATCH, {"data": 5}),
        (MERGE_PATCH, {"metadata": "x"}),
        (STRATEGIC_MERGE_PATCH, {"data": ["x"]}),
        (JSON_PATCH, [{"op": "add", "path": "/data", "value": 5}]),
        (JSON_PATCH, [{"op": "replace", "path": "", "value": [1]}]),
    ],
)
async def test_a_patch_to_a_wrong_type_is_422(
    patch: Patching, media_type: str, change: Any
) -> None:
    error = await refused(patch(change, media_type))
    assert error.code == 422
    assert "patch: Invalid value: " in error.message
    assert "cannot unmarshal" in error.message


@pytest.mark.parametrize(
    ("media_type", "change", "expected"),
    [
        (MERGE_PATCH, b'{"data":{"a":"1","a":"2"}}', 'duplicate field "data.a"'),
        (
            STRATEGIC_MERGE_PATCH,
            b'{"data":{"a":"1","a":"2"}}',
            'duplicate field "data.a"',
        ),
        (MERGE_PATCH, b'{"zap":1}', 'unknown field "zap"'),
        (
            JSON_PATCH,
            b'[{"op":"test","path":"/data/k","value":"v","x":1}]',
            'json patch unknown field "[0].x"',
        ),
    ],
)
async def test_findings_in_patches_are_told_once(
    patch: Patching, media_type: str, change: bytes, expected: str
) -> None:
    ctx = context()
    await patch(change, media_type, ctx)
    assert list(ctx.warnings) == [expected]
    ignoring = context("Ignore")
    await patch(change, media_type, ignoring)
    assert list(ignoring.warnings) == []
    error = await refused(patch(change, media_type, context("Strict")))
    assert error.code == 422
    assert f"strict decoding error: {expected}" in error.message


async def test_strict_decoding_names_the_kind(registry: Registry) -> None:
    plain = {"metadata": {"name": "x"}, "dat": {}}
    creating = registry.create(context("Strict"), Target(CONFIG_MAPS, "n"), body(plain))
    error = await refused(creating)
    assert error.code == 400
    assert error.message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'unknown field "dat"'
    )


@pytest.mark.parametrize("kind", [CONFIG_MAPS, VIEWED])
@pytest.mark.parametrize(
    ("data", "media_type", "expected"),
    [
        (
            b"metadata: {name: x}\nreason: a\nreason: b\n",
            "application/yaml",
            'line 3: key "reason" already set in map',
        ),
        (
            b'{"metadata":{"name":"x","name":"x"}}',
            "application/json",
            'duplicate field "metadata.name"',
        ),
        (
            b'{"metadata":{"name":"x","name":"x"}}',
            "application/octet-stream",
            'duplicate field "metadata.name"',
        ),
    ],
)
async def test_keys_that_stand_twice_are_found_in_every_format(
    registry: Registry, kind: Resource, data: bytes, media_type: str, expected: str
) -> None:
    found = Body(data, media_type)
    error = await refused(registry.create(context("Strict"), Target(kind, "n"), found))
    assert error.code == 400
    assert expected in error.message
    for validation, warnings in (("Warn", [expected]), ("Ignore", [])):
        ctx = context(validation)
        ctx.dry_run = True
        with contextlib.suppress(StatusError):
            await registry.create(ctx, Target(kind, "n"), found)
        assert [text for text in ctx.warnings if "unknown" not in text] == warnings


@pytest.mark.parametrize(
    ("kind", "sub", "name"),
    [(CONFIG_MAPS, "", "c"), (DEPLOYMENTS, "scale", "d"), (VIEWED, "", "e"), (EVENTS, "", "e")],
)
async def test_an_update_says_which_object_it_is(
    registry: Registry, kind: Resource, sub: str, name: str
) -> None:
    error = await refused(
        registry.update(context(), Target(kind, "n", name, sub), body({"metadata": {}}))
    )
    assert error.code == 400
    text = f"the name of the object ({name} based on URL) was undeterminable"
    assert error.message == f"{text}: name must be provided"


async def test_many_unknown_fields_are_few_warnings(registry: Registry) -> None:
    ctx = context()
    plain = {"metadata": {"name": "x"}} | {f"field{number:06}": 1 for number in range(200_000)}
    await registry.create(ctx, Target(CONFIG_MAPS, "n"), body(plain))
    assert 16 <= len(list(ctx.warnings)) <= 100
    assert sum(map(len, ctx.warnings)) <= 8192


def test_warnings_are_told_once_and_cut_when_they_are_many() -> None:
    assert list(Warnings(["a", "b", "a", ""])) == ["a", "b"]
    assert list(Warnings(["x" * 4000])) == ["x" * 4000]
    many = list(Warnings(f"{number:03}" + "x" * 500 for number in range(300)))
    assert [len(text) for text in many] == [256] * 16


@pytest.mark.parametrize(
    "plain",
    [
        {"metadata": {"name": "x", "labels": {f"/{n}": "/" for n in range(100_000)}}},
        {"metadata": {"name": "x", "annotations": {f"/{n}": "" for n in range(100_000)}}},
        {"metadata": {"name": "x", "finalizers": [f"/{n}" for n in range(100_000)]}},
        {"metadata": {"name": "x"}, "data": {f"/{n}": "" for n in range(100_000)}},
        {"metadata": {"name": "x", "labels": {"a": "/" * 1_000_000}}},
        {"metadata": {"name": "x", "labels": {f"/{n}": "/" * 10_000 for n in range(300)}}},
        {"metadata": {"name": "x"}, "data": {f"/{n}" + "x" * 10_000: "" for n in range(300)}},
        {"metadata": {"name": "/" * 3_000_000}},
    ],
)
async def test_many_bad_values_are_a_small_answer(
    registry: Registry, plain: dict[str, Any]
) -> None:
    start = time.process_time()
    creating = registry.create(context(), Target(CONFIG_MAPS, "n"), body(plain))
    error = await refused(creating)
    assert time.process_time() - start < 2
    assert error.code == 422
    assert error.details is not None
    assert len(error.details["causes"]) <= 100
    assert len(json.dumps(error.status())) < 2_000_000


@pytest.mark.parametrize("said", [{"apiVersion": ""}, {"kind": ""}, {"apiVersion": "", "kind": ""}])
@pytest.mark.parametrize("media_type", ["application/json", "application/yaml"])
def test_an_empty_type_is_the_one_that_the_path_means(
    said: dict[str, str], media_type: str
) -> None:
    """It was stored as it was, and could then not be said in protobuf."""
    body = Body(json.dumps({**said, "metadata": {"name": "a"}}).encode(), media_type)
    made = bodies.decode(Context(user=Identity("admin")), body, ControllerRevision, "apps/v1")
    assert (made.apiVersion, made.kind) == ("apps/v1", "ControllerRevision")
