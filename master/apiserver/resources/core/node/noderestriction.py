"""What a node may not write, even of the objects that are its own. Pure.

Labels decide which Services a pod serves and which pods a node gets: a machine that somebody has
broken into must not be able to choose them. Source:
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from collections.abc import Mapping

from common.api import errors
from common.api.types.core_v1 import NodeStatus, PodStatus

_RESERVED = ("kubernetes.io", "k8s.io")
_OWN_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_OWN = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)


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
    return {key: value for key, value in labels.items() if key in _OWN or not _is_reserved(key)}


def _is_reserved(key: str) -> bool:
    """Whether a label is Kubernetes' own, and none of those that kubelets give."""
    namespace = key.rpartition("/")[0]
    if _is_within(namespace, _OWN_NAMESPACES):
        return False
    return _is_within(namespace, _RESERVED)


def _is_within(namespace: str, domains: tuple[str, ...]) -> bool:
    return any(namespace == domain or namespace.endswith(f".{domain}") for domain in domains)


def check_items(status: NodeStatus | PodStatus, old: NodeStatus | PodStatus | None = None) -> None:
    """Every later step takes time by their number. Raises StatusError 400 for a list that is too
    long, unless it was as long before.
    """
    limits = NODE_ITEMS_MAX if isinstance(status, NodeStatus) else POD_ITEMS_MAX
    for field, limit in limits.items():
        count = len(getattr(status, field))
        if count > max(limit, len(getattr(old, field)) if old is not None else 0):
            raise errors.bad_request(f"status.{field}: Too many: {count}: at most {limit} items")
