"""The ephemeralcontainers subresource of pods: containers for a look inside of a pod that runs.

Source: https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/, KEP-277,
pkg/apis/core/validation ValidatePodEphemeralContainersUpdate.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.api import errors
from common.api.types.core_v1 import Pod
from common.api.wellknown import MIRROR_POD
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.podpart import PodPart
from master.apiserver.resources.core.pod.podupdate import difference
from master.apiserver.resources.lib.checks import Findings

PATH = "spec.ephemeralContainers"


class EphemeralContainers(PodPart):
    """Containers are added; none is removed or changed."""

    def changed(self, target: Target, pod: Pod, wanted: Pod) -> Pod:
        """The pod with the ephemeral containers that are wanted; raises StatusError 422."""
        strategy = self._pipeline.strategy(target.resource)
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
