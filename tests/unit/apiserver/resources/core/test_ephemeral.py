"""The ephemeralcontainers subresource: what it adds, and in which words it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request import patches
from master.apiserver.request.bodies import Body
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.ephemeral import EphemeralContainers
from tests.fakes import registry as fakes
from tests.unit.apiserver.registry.test_pipeline_pods import CONTEXT, PODS, create
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

TARGET = Target(PODS, "n", "a", "ephemeralcontainers")
STRATEGIC = "application/strategic-merge-patch+json"
DEBUG = {"name": "debug", "image": "busybox:1"}


async def patched(pipeline: Pipeline, *containers: dict[str, Any], **members: Any) -> Pod:
    """The pod after a strategic merge patch, as `kubectl debug` sends it."""
    data = msgspec.json.encode({"spec": {"ephemeralContainers": containers, **members}})
    patcher = patches.read(pipeline.scheme, TARGET, Patch(data, STRATEGIC))
    handler = EphemeralContainers(fakes.stored(pipeline))
    return codec.decode(await handler.patch(CONTEXT, TARGET, patcher), Pod)


async def refused(pipeline: Pipeline, *containers: dict[str, Any]) -> str:
    """The message of a refusal."""
    with pytest.raises(errors.StatusError) as caught:
        await patched(pipeline, *containers)
    assert caught.value.code == 422
    return caught.value.message


async def test_one_is_added_with_defaults_and_the_generation_counts(pipeline: Pipeline) -> None:
    await create(pipeline, pod())
    made = await patched(pipeline, DEBUG)
    [added] = made.spec.ephemeralContainers
    assert (added.imagePullPolicy, added.terminationMessagePolicy) == ("IfNotPresent", "File")
    assert made.metadata.generation == 2
    made = await patched(pipeline, {"name": "debug2", "image": "busybox:1"})
    assert sorted(c.name for c in made.spec.ephemeralContainers) == ["debug", "debug2"]
    assert made.metadata.generation == 3


async def test_an_update_adds_too_and_nothing_else_of_it_counts(pipeline: Pipeline) -> None:
    await create(pipeline, pod())
    wanted = await patched(pipeline, DEBUG)
    wanted.spec.ephemeralContainers += (
        msgspec.structs.replace(wanted.spec.ephemeralContainers[0], name="second"),
    )
    wanted.spec.containers[0].image = "other:2"
    wanted.metadata.labels["new"] = "label"
    wanted.metadata.resourceVersion = ""
    handler = EphemeralContainers(fakes.stored(pipeline))
    body = Body(codec.encode(wanted), "application/json")
    made = codec.decode(await handler.update(CONTEXT, TARGET, body), Pod)
    assert [c.name for c in made.spec.ephemeralContainers] == ["debug", "second"]
    assert made.spec.containers[0].image != "other:2"
    assert "new" not in made.metadata.labels
    assert codec.decode(await handler.get(TARGET), Pod) == made


async def test_what_is_there_stays_as_it_is(pipeline: Pipeline) -> None:
    await create(pipeline, pod())
    await patched(pipeline, DEBUG)
    said = await refused(pipeline, {"name": "debug", "image": "other:1"})
    assert 'existing ephemeral containers "debug" may not be changed' in said
    assert '+  image: "other:1"' in said
    said = await refused(pipeline, {"name": "debug", "$patch": "delete"})
    assert 'existing ephemeral containers "debug" may not be removed' in said


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"name": "web"}, 'spec.ephemeralContainers[0].name: Duplicate value: "web"'),
        (
            {"targetContainerName": "nobody"},
            'spec.ephemeralContainers[0].targetContainerName: Not found: "nobody"',
        ),
        (
            {"ports": [{"containerPort": 80}]},
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral "
            "Container",
        ),
        ({"image": ""}, "spec.ephemeralContainers[0].image: Required value"),
    ],
)
async def test_not_everything_may_be_set(
    pipeline: Pipeline, members: dict[str, Any], said: str
) -> None:
    await create(pipeline, pod())
    assert said in await refused(pipeline, {**DEBUG, **members})
