"""What a node may not write, even of the objects that are its own. Pure.

Labels decide which Services a pod serves and which pods a node gets: a machine that somebody has
broken into must not be able to choose them. Source:
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from collections.abc import Mapping

from common.api import errors
from common.api.resource import Resource
from common.api.types.meta_v1 import ObjectMeta
from common.security.identity import Identity
from master.apiserver.auth.authorizer import node_name

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


def check_status_update(
    user: Identity, resource: Resource, new: ObjectMeta, old: ObjectMeta
) -> None:
    """Raise StatusError 403 for a node that changes more than a status in its name."""
    node = node_name(user)
    if node is None:
        return
    for field in ("labels", "annotations", "finalizers"):
        if getattr(new, field) != getattr(old, field):
            text = f'node "{node}" cannot update {field} through {resource.kind.lower()} status'
            raise errors.forbidden_request(resource, new.name, text)
