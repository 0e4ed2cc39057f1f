"""The ephemeralcontainers subresource of pods: containers for a look inside of a pod that runs.

Source: https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/, KEP-277,
pkg/apis/core/validation ValidatePodEphemeralContainersUpdate.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.api import errors
from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from common.api.wellknown import MIRROR_POD
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.stored import Stored, replacing
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.podupdate import difference
from master.apiserver.resources.lib.checks import Findings

PATH = "spec.ephemeralContainers"


class EphemeralContainers(Handler):
    """GET, PUT and PATCH of pods/NAME/ephemeralcontainers. Nothing else of what is sent counts."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._pipeline = stored.pipeline

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """The whole pod."""
        return await self._stored.get(target, resource_version)

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Add those of the body that are new."""
        wanted = replacing(target, bodies.decode(ctx, body, Pod, "v1"))
        return await self._pipeline.update(ctx, target, lambda pod: self._added(pod, wanted(pod)))

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """Add some."""

        def change(pod: Pod) -> Pod:
            return self._added(pod, bodies.patched(ctx, codec.encode(pod), patcher, Pod))

        return await self._pipeline.update(ctx, target, change)

    def _added(self, pod: Pod, wanted: Pod) -> Pod:
        """The pod with the ephemeral containers that are wanted; raises StatusError 422."""
        strategy = self._pipeline.strategy(self._pipeline.scheme.require("", "v1", "pods"))
        strategy.default(wanted)
        meta = replace(
            pod.metadata,
            resourceVersion=wanted.metadata.resourceVersion,
            uid=wanted.metadata.uid,
        )
        spec = replace(pod.spec, ephemeralContainers=wanted.spec.ephemeralContainers)
        made = replace(pod, metadata=meta, spec=spec)
        findings = [*strategy.validate(made), *errors.first(_problems(made, pod))]
        if findings:
            raise errors.invalid_object("", "Pod", pod.metadata.name, findings)
        if made.spec != pod.spec:
            meta.generation += 1
        return made


def _problems(new: Pod, old: Pod) -> Findings:
    """An ephemeral container stays as it was added."""
    if MIRROR_POD in old.metadata.annotations:
        yield errors.forbidden("", "static pods do not support ephemeral containers")
        return
    wanted = {one.name: one for one in new.spec.ephemeralContainers}
    for before in old.spec.ephemeralContainers:
        after = wanted.get(before.name)
        if after is None:
            text = f'existing ephemeral containers "{before.name}" may not be removed\n'
            yield errors.forbidden(PATH, text)
        elif after != before:
            text = f'existing ephemeral containers "{before.name}" may not be changed\n'
            yield errors.forbidden(PATH, text + difference(before, after))
