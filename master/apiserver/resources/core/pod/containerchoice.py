"""Which container of a pod is meant. Pure.

Source: k8s.io/kubernetes pkg/registry/core/pod.
"""

from __future__ import annotations

from common.api import errors
from common.api.types.core_v1 import Pod


def container_of(pod: Pod, asked: str) -> str:
    """The name of the container that is asked for, or of the only one; raises StatusError 400."""
    spec = pod.spec
    names = [container.name for container in (*spec.initContainers, *spec.containers)]
    names += [container.name for container in spec.ephemeralContainers]
    if asked:
        if asked not in names:
            raise errors.bad_request(f"container {asked} is not valid for pod {pod.metadata.name}")
        return asked
    if len(pod.spec.containers) == 1:
        return pod.spec.containers[0].name
    text = f"a container name must be specified for pod {pod.metadata.name}"
    text += f", choose one of: [{' '.join(c.name for c in pod.spec.containers)}]"
    if pod.spec.initContainers:
        first = " ".join(c.name for c in pod.spec.initContainers)
        text += f" or one of the init containers: [{first}]"
    raise errors.bad_request(text)
