"""Pods through the whole pipeline: defaults, admission, rules, deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Namespace, Pod, ServiceAccount
from common.api.types.meta_v1 import ObjectMeta
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.view import Viewed
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions
from master.apiserver.request.target import Target
from master.apiserver.resources.core.event import EventView
from master.apiserver.resources.core.pod.binding import BindingSubresource
from master.storage.store import Unavailable
from tests.fakes import registry as fakes
from tests.unit.apiserver.resources.core.test_pod_defaults import container, pod

CONTEXT = Context(user=Identity("user", ()))


def resource(plural: str) -> Resource:
    """A resource of the core group."""
    found = SCHEME.resource("", "v1", plural)
    assert found is not None
    return found


PODS, NAMESPACES = resource("pods"), resource("namespaces")
ACCOUNTS = resource("serviceaccounts")
EVENTS = ("events.k8s.io", "v1", "events")


async def create(pipeline: Pipeline, plain: dict[str, Any]) -> Pod:
    obj, _ = codec.convert_request(plain, Pod)
    return codec.decode(await pipeline.create(CONTEXT, Target(PODS, "n"), obj), Pod)


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

    data = await pipeline.update(CONTEXT, Target(PODS, "n", "a"), change)
    assert codec.decode(data, Pod).metadata.generation == 2
    again = await pipeline.update(CONTEXT, Target(PODS, "n", "a"), change)
    assert again == data


async def test_an_unbound_pod_goes_at_once(pipeline: Pipeline) -> None:
    await create(pipeline, pod())
    _, gone = await pipeline.delete(CONTEXT, Target(PODS, "n", "a"), DeleteOptions())
    assert gone


async def test_a_bound_pod_waits_for_its_kubelet(pipeline: Pipeline) -> None:
    await create(pipeline, pod(nodeName="node", terminationGracePeriodSeconds=7))
    data, gone = await pipeline.delete(CONTEXT, Target(PODS, "n", "a"), DeleteOptions())
    meta = codec.decode(data, Pod).metadata
    assert not gone
    assert (meta.deletionTimestamp, meta.deletionGracePeriodSeconds) == ("2030-01-01T00:00:07Z", 7)
    assert meta.generation == 2
    now = DeleteOptions(grace_period_seconds=0)
    _, gone = await pipeline.delete(CONTEXT, Target(PODS, "n", "a"), now)
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
    before = pipeline.cache.get(pipeline.key(Target(PODS, "n", "a")))
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
        await pipeline.update(CONTEXT, Target(PODS, "n", "a"), image(name))
    stored = await pipeline.read(Target(PODS, "n", "a"))
    assert codec.decode(stored.value, Pod).spec.containers[0].image == "nginx"


async def bind(pipeline: Pipeline, **fields: Any) -> None:
    """As a scheduler does."""
    plain = {"metadata": {"name": "a", **fields}, "target": {"kind": "Node", "name": "n1"}}
    binding = BindingSubresource(pipeline)
    await binding.create(CONTEXT, Target(PODS, "n", "a", "binding"), Body(codec.encode(plain)))


async def test_a_binding_sets_the_node_once_and_brings_its_annotations(pipeline: Pipeline) -> None:
    await create(pipeline, pod())
    await bind(pipeline, annotations={"why": "it is near"})
    stored = codec.decode((await pipeline.read(Target(PODS, "n", "a"))).value, Pod)
    assert (stored.spec.nodeName, stored.metadata.annotations["why"]) == ("n1", "it is near")
    with pytest.raises(errors.StatusError) as raised:
        await bind(pipeline)
    assert raised.value.message == (
        'Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n1"'
    )


async def test_a_gated_pod_is_not_bound(pipeline: Pipeline) -> None:
    """With a node and gates it would be a pod that no update could change."""
    await create(pipeline, pod(schedulingGates=[{"name": "x.io/wait"}]))
    with pytest.raises(errors.StatusError) as raised:
        await bind(pipeline)
    assert raised.value.code == 409
    assert "pod a has non-empty .spec.schedulingGates" in raised.value.message


async def test_trouble_with_the_store_is_503_wherever_a_create_meets_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> int:
        raise Unavailable("no leader")

    monkeypatch.setattr(pipeline.cache, "consistent_revision", away)
    with pytest.raises(errors.StatusError) as raised:
        await create(pipeline, pod(serviceAccountName="not-shown-yet"))
    assert raised.value.code == 503


async def test_nothing_is_created_once_its_namespace_is_on_its_way_out(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by a request that was admitted before: nobody would empty the namespace again."""
    await pipeline.create(CONTEXT, Target(NAMESPACES), Namespace(metadata=ObjectMeta(name="m")))
    await pipeline.cache.wait_for(await pipeline.store.revision(), 5.0)
    admit = pipeline._mutate

    async def late(*arguments: Any) -> None:
        await admit(*arguments)
        if not deleted:
            deleted.append(True)
            await pipeline.delete(CONTEXT, Target(NAMESPACES, "", "m"), DeleteOptions())

    deleted: list[bool] = []
    monkeypatch.setattr(pipeline, "_mutate", late)
    account = ServiceAccount(metadata=ObjectMeta(name="a"))
    with pytest.raises(errors.StatusError) as raised:
        await pipeline.create(CONTEXT, Target(ACCOUNTS, "m"), account)
    assert raised.value.code == 403
    assert "because it is being terminated" in raised.value.message


async def test_a_namespace_with_a_generated_name_has_the_label_of_it(pipeline: Pipeline) -> None:
    made = Namespace(metadata=ObjectMeta(generateName="team-"))
    data = await pipeline.create(CONTEXT, Target(NAMESPACES), made)
    meta = codec.decode(data, Namespace).metadata
    assert meta.labels == {"kubernetes.io/metadata.name": meta.name}


async def test_a_view_takes_its_own_kind_only_and_the_name_of_the_url(pipeline: Pipeline) -> None:
    core, events = resource("events"), SCHEME.resource(*EVENTS)
    assert events is not None
    registry = fakes.registry(
        pipeline, handlers={events.group_resource: Viewed(EventView(core), fakes.stored(pipeline))}
    )
    event = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}}
    wrong = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "e"}},
        {**event, "metadata": {"name": "other"}},
    ]
    with pytest.raises(errors.StatusError) as raised:
        await registry.create(CONTEXT, Target(events, "n"), Body(codec.encode(wrong[0])))
    assert raised.value.code == 400
    for body in wrong:
        with pytest.raises(errors.StatusError) as raised:
            await registry.update(CONTEXT, Target(events, "n", "e"), Body(codec.encode(body)))
        assert raised.value.code == 400


@pytest.mark.parametrize("verb", ["delete", "deletecollection", "list", "watch"])
def test_subresources_are_not_deleted(pipeline: Pipeline, verb: str) -> None:
    """A DELETE of pods/a/status must not take the pod."""
    registry = fakes.registry(pipeline)
    with pytest.raises(errors.StatusError) as raised:
        registry.check_verb(verb, Target(PODS, "n", subresource="status"))
    assert raised.value.code == 405
