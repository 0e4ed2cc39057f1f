"""The Node authorizer: a node may read and write what is its own, or its pods'. Its no is final.

Source: https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from common.api.codec import json as codec
from common.api.podreferences import Reference, references
from common.api.types.core_v1 import Pod
from common.api.wellknown import NODE_LEASES, NODE_USER_PREFIX, NODES_GROUP
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.storage.entry import Entry
from master.storage.keys import InvalidKey, registry_prefix
from master.storage.watchcache import WatchCache


def node_name(user: Identity) -> str | None:
    """The node that this identity is, or None."""
    if NODES_GROUP in user.groups and user.user.startswith(NODE_USER_PREFIX):
        return user.user.removeprefix(NODE_USER_PREFIX)
    return None


class NodeAuthorizer:
    """Decides for nodes, from the pods that are bound to them as the watch cache has them."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache

    def allows(self, node: str, wanted: Attributes) -> bool:
        """Whether a node may do this."""
        if wanted.path:
            return wanted.verb == "get"
        verb, sub = wanted.verb, wanted.subresource
        match wanted.group, wanted.plural:
            case "", "nodes":
                allowed = ("update", "patch") if sub == "status" else ("get", "create")
                return wanted.name == node and sub in ("", "status") and verb in allowed
            case ("", "services" | "endpoints") | ("discovery.k8s.io", "endpointslices"):
                return not sub and verb in ("get", "list", "watch")
            case "", "pods":
                return self._pod_of_node(node, wanted)
            case "certificates.k8s.io", "certificatesigningrequests":
                return not sub and verb in ("create", "get")
            case "coordination.k8s.io", "leases":
                own = wanted.namespace == NODE_LEASES and wanted.name == node
                return own and verb in ("get", "create", "update", "patch")
            case "", "secrets" | "configmaps":
                return verb == "get" and self._is_used(node, wanted)
            case "", "serviceaccounts":
                return (verb, sub) == ("create", "token") and self._runs_as(node, wanted)
        return False

    def _pod_of_node(self, node: str, wanted: Attributes) -> bool:
        """A node reads its pods, reports their status and removes those that are deleting."""
        entry = self._cache.find("pods", wanted.name, wanted.namespace) if wanted.name else None
        if entry is None:
            return False
        pod = _decoder.decode(entry.data)
        if pod.spec.nodeName != node:
            return False
        if wanted.subresource == "status":
            return wanted.verb in ("get", "update", "patch")
        removes = wanted.verb == "delete" and bool(pod.metadata.deletionTimestamp)
        return wanted.subresource == "" and (wanted.verb == "get" or removes)

    def _is_used(self, node: str, wanted: Attributes) -> bool:
        """Whether a pod of the node names that ConfigMap or Secret."""
        reference = Reference(wanted.plural, wanted.namespace, wanted.name)
        return any(
            _bound_to(entry) == node and reference in references(codec.decode(entry.data, Pod))
            for entry in self._naming(node, wanted)
        )

    def _runs_as(self, node: str, wanted: Attributes) -> bool:
        """Whether a pod of the node runs as that service account."""
        specs = (_spec(entry) for entry in self._naming(node, wanted))
        return any((s.nodeName, s.serviceAccountName) == (node, wanted.name) for s in specs)

    def _naming(self, node: str, wanted: Attributes) -> Iterator[Entry]:
        """The pods of its namespace that have both names anywhere: others need not be read."""
        try:
            prefix = registry_prefix("pods", wanted.namespace)
        except InvalidKey:
            return
        name, on = wanted.name.encode(), node.encode()
        for entry in self._cache.list(prefix):
            if name and name in entry.data and on in entry.data:
                yield entry


class _Spec(msgspec.Struct, gc=False):
    nodeName: str = ""
    serviceAccountName: str = ""


class _Metadata(msgspec.Struct, gc=False):
    deletionTimestamp: str = ""


class _Bound(msgspec.Struct, gc=False):
    """What must be read of a pod to know its node and account, and whether it goes."""

    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decoder = msgspec.json.Decoder(_Bound)


def _spec(entry: Entry) -> _Spec:
    return _decoder.decode(entry.data).spec


def _bound_to(entry: Entry) -> str:
    return _spec(entry).nodeName
