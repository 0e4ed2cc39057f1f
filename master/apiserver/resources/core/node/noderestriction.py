"""What a node may not write, even of the objects that are its own. Pure.

Labels decide which Services a pod serves and which pods a node gets: a machine that somebody has
broken into must not be able to choose them. Source:
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from collections.abc import Mapping

from common.api import errors
from common.api.types.authentication_v1 import TokenRequestSpec
from common.api.types.core_v1 import Node, NodeStatus, Pod, PodStatus
from common.api.wellknown import ARCH, HOSTNAME, OS

_RESERVED = ("kubernetes.io", "k8s.io")
_OWN_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_OWN = frozenset(
    {
        HOSTNAME,
        ARCH,
        OS,
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)
_RIGHTS = "wherry.dev/"
"""Annotations of a Node that begin so say which certificate and address are its machine's."""

NODE_ITEMS_MAX = {
    "addresses": 32,
    "allocatable": 64,
    "capacity": 64,
    "conditions": 64,
    "images": 200,
    "volumesAttached": 1024,
    "volumesInUse": 1024,
}
POD_ITEMS_MAX = {
    "conditions": 64,
    "containerStatuses": 1024,
    "ephemeralContainerStatuses": 1024,
    "hostIPs": 32,
    "initContainerStatuses": 1024,
    "podIPs": 32,
}


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Those of `labels` that a kubelet may give its Node."""
    return {key: value for key, value in labels.items() if not _is_reserved(key)}


def _is_reserved(key: str) -> bool:
    """Whether a label is Kubernetes' own, and none of those that kubelets give."""
    namespace = key.rpartition("/")[0]
    if key in _OWN or _is_within(namespace, _OWN_NAMESPACES):
        return False
    return _is_within(namespace, _RESERVED)


def _is_within(namespace: str, domains: tuple[str, ...]) -> bool:
    return any(namespace == domain or namespace.endswith(f".{domain}") for domain in domains)


def refused_change(new: Node, old: Node) -> str:
    """What a node may not do to its Node by a change of its status, not even where that drops it;
    '' if nothing is refused.

    Unlike Kubernetes, finalizers: a Node that stays when it is deleted would be of use to a machine
    that has lost its rights with it.
    """
    source = new.spec.configSource
    if source is not None and source != old.spec.configSource:
        return "update configSource to a new non-nil configSource"
    if new.spec.taints != old.spec.taints:
        return "modify taints"
    if new.metadata.ownerReferences != old.metadata.ownerReferences:
        return "modify ownerReferences"
    labels = _modified(new.metadata.labels, old.metadata.labels)
    if reserved := [key for key in labels if _is_reserved(key)]:
        return f"modify labels: {', '.join(reserved)}"
    annotations = _modified(new.metadata.annotations, old.metadata.annotations)
    if rights := [key for key in annotations if key.startswith(_RIGHTS)]:
        return f"modify annotations: {', '.join(rights)}"
    if new.metadata.finalizers != old.metadata.finalizers:
        return "modify finalizers"
    return ""


def _modified(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """The keys that came, went or have another value."""
    return sorted({key for key, _ in new.items() ^ old.items()})


def check_items(status: NodeStatus | PodStatus, old: NodeStatus | PodStatus | None = None) -> None:
    """Every later step takes time by their number. Raises StatusError 400 for a list that is too
    long, unless it was as long before.
    """
    limits = NODE_ITEMS_MAX if isinstance(status, NodeStatus) else POD_ITEMS_MAX
    for field, limit in limits.items():
        count = len(getattr(status, field))
        if count > max(limit, len(getattr(old, field)) if old is not None else 0):
            raise errors.bad_request(f"status.{field}: Too many: {count}: at most {limit} items")


def unbound(spec: TokenRequestSpec) -> str:
    """Why a node may not ask for such a token, whatever its pods are; '' if it may."""
    ref = spec.boundObjectRef
    if ref is None or (ref.apiVersion, ref.kind) != ("v1", "Pod") or not ref.name:
        return "node requested token not bound to a pod"
    if not ref.uid:
        return "node requested token with a pod binding without a uid"
    if len(spec.audiences) > 1:
        return "node may only request 0 or 1 audiences"
    return ""


def foreign(node: str, spec: TokenRequestSpec, pod: Pod) -> str:
    """Why a node may not ask for a token that is bound to this pod; '' if it may.

    Its volumes say for whom the pod wants tokens: a machine that somebody has broken into gets no
    others.
    """
    ref = spec.boundObjectRef
    if ref is None or ref.uid != pod.metadata.uid:
        return (
            f"the UID in the bound object reference ({ref.uid if ref else ''}) does not match the "
            "UID in record. The object might have been deleted and then recreated"
        )
    if pod.spec.nodeName != node:
        return "node requested token bound to a pod scheduled on a different node"
    audience = spec.audiences[0] if spec.audiences else ""
    if audience not in _audiences(pod):
        return (
            f'audience "{audience}" not found in pod spec volume, system:node:{node} is not '
            "authorized to request tokens for this audience"
        )
    return ""


def _audiences(pod: Pod) -> set[str]:
    """For whom the volumes of a pod have tokens; '' is the API server."""
    return {
        source.serviceAccountToken.audience
        for volume in pod.spec.volumes
        if volume.projected is not None
        for source in volume.projected.sources
        if source.serviceAccountToken is not None
    }
