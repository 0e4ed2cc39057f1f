"""What a RuntimeClass adds to the pods that name it, and what contradicts it."""

from __future__ import annotations

from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Pod
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from tests.unit.apiserver.conftest import STRATEGIES, Writer
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

CLASSES = "runtimeclasses.node.k8s.io"
CONTEXT = Context(user=Identity("user", ()))
PODS = SCHEME.require("", "v1", "pods")
DISK = {"key": "disk", "operator": "Equal", "value": "fast", "effect": "NoSchedule"}
ANY_DISK = {"key": "disk", "operator": "Exists", "effect": "NoSchedule"}
SHORT = {"key": "disk", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
LONG = {"key": "disk", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}


async def make_class(pipeline: Pipeline, writer: Writer, **members: Any) -> None:
    plain = {"metadata": {"name": "fast"}, "handler": "crun", **members}
    target = Target(STRATEGIES[CLASSES].resource)
    await pipeline.create(CONTEXT, target, writer.decode(CLASSES, plain))


async def make_pod(pipeline: Pipeline, writer: Writer, **spec: Any) -> Pod:
    obj = writer.decode("pods", pod(**spec))
    return codec.decode(await pipeline.create(CONTEXT, Target(PODS, "n"), obj), Pod)


async def refusal(pipeline: Pipeline, writer: Writer, **spec: Any) -> str:
    with pytest.raises(errors.StatusError) as raised:
        await make_pod(pipeline, writer, **spec)
    assert raised.value.code == 403
    return raised.value.message


async def test_a_class_must_exist(pipeline: Pipeline, writer: Writer) -> None:
    message = await refusal(pipeline, writer, runtimeClassName="fast")
    assert message == 'pods "a" is forbidden: pod rejected: RuntimeClass "fast" not found'
    await make_class(pipeline, writer)
    made = await make_pod(pipeline, writer, runtimeClassName="fast")
    assert (made.spec.runtimeClassName, made.spec.overhead) == ("fast", {})


async def test_pods_get_the_overhead(pipeline: Pipeline, writer: Writer) -> None:
    await make_class(pipeline, writer, overhead={"podFixed": {"cpu": "10m", "memory": "1Mi"}})
    same = {"cpu": "0.01", "memory": "1Mi"}
    other = {"cpu": "20m", "memory": "1Mi"}
    text = await refusal(pipeline, writer, runtimeClassName="fast", overhead=other)
    assert "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead" in text
    text = await refusal(pipeline, writer, overhead=same)
    assert "Pod Overhead set without corresponding RuntimeClass defined Overhead" in text
    made = await make_pod(pipeline, writer, runtimeClassName="fast", overhead=same)
    assert made.spec.overhead == {"cpu": "10m", "memory": "1Mi"}


async def test_pods_go_to_the_nodes_of_the_class(pipeline: Pipeline, writer: Writer) -> None:
    scheduling = {"nodeSelector": {"runtime": "crun"}, "tolerations": [DISK]}
    await make_class(pipeline, writer, scheduling=scheduling)
    text = await refusal(
        pipeline, writer, runtimeClassName="fast", nodeSelector={"runtime": "runc"}
    )
    assert (
        "conflict: runtimeClass.scheduling.nodeSelector[runtime] = crun; "
        "pod.spec.nodeSelector[runtime] = runc" in text
    )
    made = await make_pod(pipeline, writer, runtimeClassName="fast", nodeSelector={"zone": "a"})
    assert made.spec.nodeSelector == {"zone": "a", "runtime": "crun"}
    assert "disk" in {toleration.key for toleration in made.spec.tolerations}


@pytest.mark.parametrize(
    ("own", "added", "kept"),
    [
        ([DISK], [DISK], [DISK]),
        ([DISK], [ANY_DISK], [ANY_DISK]),
        ([ANY_DISK], [DISK], [ANY_DISK]),
        ([SHORT], [LONG], [LONG]),
        ([LONG], [SHORT], [LONG]),
        ([DISK], [SHORT], [DISK, SHORT]),
    ],
)
async def test_what_another_toleration_covers_is_left_out(
    pipeline: Pipeline,
    writer: Writer,
    own: list[dict[str, Any]],
    added: list[dict[str, Any]],
    kept: list[dict[str, Any]],
) -> None:
    await make_class(pipeline, writer, scheduling={"tolerations": added})
    made = await make_pod(pipeline, writer, runtimeClassName="fast", tolerations=own)
    found = codec.decode_plain(codec.encode(made))["spec"]["tolerations"]
    assert [one for one in found if one["key"] == "disk"] == kept


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"handler": ""}, "handler: Required value"),
        ({"handler": "Not a label"}, 'handler: Invalid value: "Not a label"'),
        ({"overhead": {"podFixed": {"cpu": "-1"}}}, "overhead.limits[cpu]: Invalid value"),
        ({"scheduling": {"nodeSelector": {"a b": "c"}}}, "scheduling.nodeSelector: Invalid value"),
        (
            {"scheduling": {"tolerations": [DISK, DISK]}},
            "scheduling.tolerations[1]: Duplicate value",
        ),
    ],
)
def test_what_a_class_may_be(writer: Writer, members: dict[str, Any], problem: str) -> None:
    plain = {"metadata": {"name": "fast"}, "handler": "crun", **members}
    [found] = writer.create_problems(CLASSES, plain)
    assert found.startswith(problem)


def test_the_handler_never_changes(writer: Writer) -> None:
    strategy = STRATEGIES[CLASSES]
    plain = {"metadata": {"name": "fast"}, "handler": "crun"}
    old, new = writer.create(CLASSES, plain), writer.create(CLASSES, {**plain, "handler": "runc"})
    [found] = strategy.validate_update(new, old)
    assert str(found).startswith("handler: Invalid value")
    assert strategy.validate_update(old, old) == []
