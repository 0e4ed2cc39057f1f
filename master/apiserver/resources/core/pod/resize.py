"""The resize subresource of pods: CPU and memory of containers, changed while they run.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/,
KEP-1287, pkg/apis/core/validation ValidatePodResize, plugin/pkg/admission/podresize.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from common.api import errors, podrequests
from common.api.codec import json as codec
from common.api.types import Quantity
from common.api.types.core_v1 import Container, Node, Pod, ResourceRequirements
from common.api.wellknown import MIRROR_POD
from master.apiserver.registry.strategy import Strategy
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.poddefaults import qos_class
from master.apiserver.resources.core.pod.podpart import PodPart
from master.apiserver.resources.lib.checks import Findings
from master.storage.keys import registry_key

RESIZABLE = ("cpu", "memory")
ONLY_RESIZABLE = "only cpu and memory resources are mutable"
KINDS = ("containers", "initContainers")


class Resize(PodPart):
    """Containers' resources change."""

    def changed(self, target: Target, pod: Pod, wanted: Pod) -> Pod:
        """The pod with the resources that are wanted; raises StatusError 403 or 422."""
        strategy = self._pipeline.strategy(target.resource)
        strategy.default(wanted)
        findings = errors.first(_problems(pod, wanted, strategy))
        if findings:
            raise errors.invalid_object("", "Pod", pod.metadata.name, findings)
        made = resized(pod, wanted)
        made.metadata.resourceVersion = wanted.metadata.resourceVersion
        made.metadata.uid = wanted.metadata.uid
        if made.spec != pod.spec:
            made.metadata.generation += 1
            self._check_node(target, made)
        return made

    def _check_node(self, target: Target, pod: Pod) -> None:
        """Raise StatusError 403 for more than the pod's node could give it if it were empty."""
        if not pod.spec.nodeName:
            return
        entry = self._pipeline.cache.get(registry_key("nodes", pod.spec.nodeName))
        if entry is None:
            why = f'node "{pod.spec.nodeName}" not found'
            raise errors.forbidden_request(target.resource, target.name, why)
        node = codec.decode(entry.data, Node)
        if lack := _lack(pod, node):
            why = f"node didn't have enough allocatable resources: {lack}"
            error = errors.forbidden_request(target.resource, target.name, why)
            error.details = {**(error.details or {}), "causes": [{"reason": "NodeCapacity"}]}
            raise error


def _lack(pod: Pod, node: Node) -> str:
    """Of what a pod asks for more than a node has, and how much."""
    asked, has = podrequests.requests(pod.spec), podrequests.amounts(node.status.allocatable)
    return "; ".join(
        f"{name}, requested: {asked[name]}, allocatable: {has.get(name, 0)}"
        for name in (podrequests.CPU, podrequests.MEMORY)
        if asked.get(name, 0) > has.get(name, 0)
    )


def resized(pod: Pod, wanted: Pod) -> Pod:
    """A pod whose containers have the resources that those of another have."""
    spec = replace(pod.spec)
    for kind in KINDS:
        pairs = zip(getattr(pod.spec, kind), getattr(wanted.spec, kind), strict=True)
        made = tuple(replace(old, resources=new.resources) for old, new in pairs)
        setattr(spec, kind, made)
    return replace(pod, metadata=replace(pod.metadata), spec=spec)


def _problems(pod: Pod, wanted: Pod, strategy: Strategy) -> Findings:
    """What of a resize is not allowed, in Kubernetes' words."""
    if MIRROR_POD in pod.metadata.annotations:
        yield errors.forbidden("", "static pods cannot be resized")
        return
    if pod.spec.os is not None and pod.spec.os.name == "windows":
        yield errors.forbidden("", "windows pods cannot be resized")
        return
    if wanted.spec.resources != pod.spec.resources:
        text = "resources of a whole pod cannot be resized yet"
        yield errors.forbidden("spec.resources", text)
    order = list(_order_problems(pod, wanted))
    if order:
        yield from order
        return
    made = resized(pod, wanted)
    yield from strategy.validate(made)
    if (pod.status.qosClass or qos_class(pod.spec)) != qos_class(made.spec):
        text = "Pod QOS Class may not change as a result of resizing"
        yield errors.invalid("spec", pod.status.qosClass, text)
    if not _node_resizes(pod):
        yield errors.forbidden("spec", "Pod running on node without support for resize")
    for kind in KINDS:
        pairs = zip(getattr(pod.spec, kind), getattr(wanted.spec, kind), strict=True)
        for number, (old, new) in enumerate(pairs):
            path = f"spec.{kind}[{number}]"
            yield from _removals(f"{path}.resources", new.resources, old.resources)
            yield from _container_problems(path, new, old, is_init=kind == "initContainers")


def _order_problems(pod: Pod, wanted: Pod) -> Findings:
    """Containers stay as many as they are, and in their order."""
    for kind in KINDS:
        old: Sequence[Container] = getattr(pod.spec, kind)
        new: Sequence[Container] = getattr(wanted.spec, kind)
        if len(old) != len(new):
            text = f"{kind} may not be added or removed on resize"
            yield errors.forbidden(f"spec.{kind}", text)
            continue
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            if before.name != after.name:
                text = f"{kind} may not be renamed or reordered on resize"
                yield errors.forbidden(f"spec.{kind}[{number}].name", text)


def _node_resizes(pod: Pod) -> bool:
    """Whether the pod's kubelet tells what its containers really have: one that does resizes."""
    running = (one for one in pod.status.containerStatuses if one.state.running is not None)
    first = next(running, None)
    return first is None or first.resources is not None


def _removals(path: str, new: ResourceRequirements, old: ResourceRequirements) -> Findings:
    for name in ("requests", "limits"):
        if not getattr(old, name).keys() <= getattr(new, name).keys():
            text = f"resource {name} cannot be removed"
            yield errors.forbidden(f"{path}.{name}", text)


def _container_problems(path: str, new: Container, old: Container, *, is_init: bool) -> Findings:
    """Of a container only CPU and memory change, and only where it can be done while it runs."""
    if new.resizePolicy != old.resizePolicy or not _is_same_otherwise(new.resources, old.resources):
        where, text = "spec", ONLY_RESIZABLE
        if is_init:
            where = path
            text = "only cpu and memory resources for init or sidecar containers are mutable"
        yield errors.forbidden(where, text)
    restarts = any(one.restartPolicy == "RestartContainer" for one in old.resizePolicy)
    once = is_init and old.restartPolicy != "Always"
    if once and restarts and new.resources != old.resources:
        text = (
            "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
        )
        yield errors.forbidden(path, text)


def _is_same_otherwise(new: ResourceRequirements, old: ResourceRequirements) -> bool:
    """Whether two differ in CPU and memory alone."""
    if new.claims != old.claims:
        return False
    return _others(new.limits) == _others(old.limits) and (
        _others(new.requests) == _others(old.requests)
    )


def _others(amounts: Mapping[str, Quantity]) -> dict[str, Quantity]:
    return {name: amount for name, amount in amounts.items() if name not in RESIZABLE}
