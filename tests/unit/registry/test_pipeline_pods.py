"""Pods through the whole pipeline: defaults, admission, rules, deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Pod
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.request import Context, DeleteOptions
from tests.unit.registry.test_pod_defaults import container, pod

CONTEXT = Context(user=Identity("user", ()))
found = SCHEME.resource("", "v1", "pods")
assert found is not None
PODS = found


async def create(pipeline: Pipeline, plain: dict[str, Any]) -> Pod:
    obj, _ = codec.convert_request(plain, Pod)
    return codec.decode(await pipeline.create(CONTEXT, PODS, "n", obj), Pod)


async def test_a_pod_is_stored_with_all_that_clients_print(pipeline: Pipeline) -> None:
    made = await create(pipeline, pod())
    assert made.spec.serviceAccountName == "default"
    assert made.spec.priority == 0
    assert len(made.spec.tolerations) == 2
    assert (made.status.phase, made.status.qosClass) == ("Pending", "BestEffort")
    assert (made.metadata.generation, made.metadata.namespace) == (1, "n")


async def test_every_finding_is_a_cause(pipeline: Pipeline) -> None:
    bad = container(ports=[{"containerPort": 0}], imagePullPolicy="x")
    with pytest.raises(errors.StatusError) as raised:
        await create(pipeline, bad)
    assert raised.value.code == 422
    assert raised.value.details is not None
    assert [cause["field"] for cause in raised.value.details["causes"]] == [
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].imagePullPolicy",
    ]


async def test_an_image_can_change(pipeline: Pipeline) -> None:
    await create(pipeline, pod())

    def change(current: Pod) -> Pod:
        current.spec.containers[0].image = "nginx:2"
        return current

    data = await pipeline.update(CONTEXT, PODS, "n", "a", change)
    assert codec.decode(data, Pod).metadata.generation == 2
    again = await pipeline.update(CONTEXT, PODS, "n", "a", change)
    assert again == data


async def test_an_unbound_pod_goes_at_once(pipeline: Pipeline) -> None:
    await create(pipeline, pod())
    _, gone = await pipeline.delete(CONTEXT, PODS, "n", "a", DeleteOptions())
    assert gone


async def test_a_bound_pod_waits_for_its_kubelet(pipeline: Pipeline) -> None:
    await create(pipeline, pod(nodeName="node", terminationGracePeriodSeconds=7))
    data, gone = await pipeline.delete(CONTEXT, PODS, "n", "a", DeleteOptions())
    meta = codec.decode(data, Pod).metadata
    assert not gone
    assert (meta.deletionTimestamp, meta.deletionGracePeriodSeconds) == ("2030-01-01T00:00:07Z", 7)
    assert meta.generation == 2
    now = DeleteOptions(grace_period_seconds=0)
    _, gone = await pipeline.delete(CONTEXT, PODS, "n", "a", now)
    assert gone


async def test_a_gated_pod_says_so_from_the_start(pipeline: Pipeline) -> None:
    plain = pod()
    plain["spec"]["schedulingGates"] = [{"name": "example.com/wait"}]
    [condition] = (await create(pipeline, plain)).status.conditions
    assert (condition.type, condition.status) == ("PodScheduled", "False")
    assert condition.reason == "SchedulingGated"
    assert condition.message == "Scheduling is blocked due to non-empty scheduling gates"


async def test_a_new_object_has_no_resource_version_yet(pipeline: Pipeline) -> None:
    plain = pod()
    plain["metadata"]["resourceVersion"] = "5"
    with pytest.raises(errors.StatusError) as raised:
        await create(pipeline, plain)
    assert raised.value.code == 400
    assert raised.value.message == "resourceVersion should not be set on objects to be created"


async def test_the_beginning_of_a_generated_name_is_checked_too(pipeline: Pipeline) -> None:
    plain = pod()
    plain["metadata"] = {"generateName": "a_"}
    with pytest.raises(errors.StatusError) as raised:
        await create(pipeline, plain)
    assert raised.value.details is not None
    fields = [cause["field"] for cause in raised.value.details["causes"]]
    assert fields == ["metadata.generateName", "metadata.name"]


async def test_a_change_back_is_written_while_the_cache_still_shows_what_was(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: what is acknowledged is stored, however far the watch cache lags behind."""
    await create(pipeline, pod())
    await pipeline.cache.wait_for(await pipeline.store.revision(), 5.0)
    before = pipeline.cache.get(pipeline.key(PODS, "n", "a"))
    get = pipeline.cache.get
    monkeypatch.setattr(
        pipeline.cache, "get", lambda key: before if before and key == before.key else get(key)
    )

    def image(name: str) -> Callable[[Pod], Pod]:
        def change(current: Pod) -> Pod:
            current.spec.containers[0].image = name
            return current

        return change

    for name in ("nginx:2", "nginx"):
        await pipeline.update(CONTEXT, PODS, "n", "a", image(name))
    stored = await pipeline.read(PODS, "n", "a")
    assert codec.decode(stored.value, Pod).spec.containers[0].image == "nginx"
