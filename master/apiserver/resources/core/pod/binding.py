"""The binding subresource of pods: a pod is bound to a node once, and never moved."""

from __future__ import annotations

from msgspec.structs import replace

from common.api import conditions, errors, times
from common.api.codec import json as codec
from common.api.types.core_v1 import Binding, Pod, PodCondition
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target


class BindingSubresource(Handler):
    """POST of pods/NAME/binding."""

    is_action = True

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Bind the pod to the node that the Binding names; 409 when it is bound already."""
        binding = bodies.decode(ctx, body, Binding, "v1")
        if not binding.target.name:
            finding = errors.required("target.name")
            raise errors.invalid_object("", "Binding", target.name, [finding])
        if binding.target.kind not in ("", "Node"):
            finding = errors.not_supported("target.kind", binding.target.kind, ["Node", "<empty>"])
            raise errors.invalid_object("", "Binding", target.name, [finding])
        await self.bind(ctx, target, binding)
        return codec.encode(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        )

    async def bind(self, ctx: Context, target: Target, binding: Binding) -> None:
        """Set nodeName and PodScheduled in one write, and the annotations of the Binding."""
        now = times.to_time(self._pipeline.clock.now())

        def change(pod: Pod) -> Pod:
            if why := _refusal(pod, binding.metadata.uid):
                raise errors.conflict(
                    replace(target.resource, plural="pods/binding"), target.name, why
                )
            pod.spec.nodeName = binding.target.name
            pod.metadata.annotations.update(binding.metadata.annotations)
            scheduled = PodCondition(
                type="PodScheduled",
                status="True",
                observedGeneration=pod.metadata.generation,
                lastTransitionTime=now,
            )
            pod.status.conditions = conditions.put(pod.status.conditions, scheduled)
            return pod

        await self._pipeline.update(ctx, target, change)


def _refusal(pod: Pod, uid: str) -> str:
    """Why a pod cannot be bound, or ''. An empty `uid` means whichever pod has the name."""
    meta, spec = pod.metadata, pod.spec
    if uid and uid != meta.uid:
        return f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta.uid}"
    if meta.deletionTimestamp:
        return f"pod {meta.name} is being deleted, cannot be assigned to a host"
    if spec.nodeName:
        return f'pod {meta.name} is already assigned to node "{spec.nodeName}"'
    if spec.schedulingGates:
        return f"pod {meta.name} has non-empty .spec.schedulingGates"
    return ""
