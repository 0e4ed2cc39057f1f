"""Authorization: who may do what. Until RBAC comes: administrators everything, nodes their own.

A node's denial is final. Source of the node rules:
https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from common.api import errors
from common.api.resource import Resource
from common.security.csr import NODE_USER_PREFIX, NODES_GROUP
from common.security.identity import Identity
from master.apiserver.auth.authenticator import BOOTSTRAPPERS, MASTERS


class Attributes(NamedTuple):
    """What a request wants: verb, resource (None for other paths), and which object."""

    verb: str
    resource: Resource | None
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


NodeOfPod = Callable[[str, str], str | None]
"""(namespace, name) of a pod -> the node that it is bound to, None when there is no such pod."""
UsedByNode = Callable[[str, str, str, str], bool]
"""(node, resource, namespace, name) -> whether a pod bound to the node references the object."""
Problem = Callable[[Identity], str]
"""Why a certificate does not count any more; '' when it does."""


class Authorizer:
    """Decides requests from the identity and, for nodes, from what is bound to them."""

    def __init__(self, node_of_pod: NodeOfPod, used_by_node: UsedByNode, problem: Problem) -> None:
        self._node_of_pod = node_of_pod
        self._used_by_node = used_by_node
        self._problem = problem

    def authorize(self, user: Identity, wanted: Attributes) -> None:
        """Return when the request is allowed; raise StatusError 403 when it is not.

        Whose certificate counts no longer is answered 401, whatever it asks for.
        """
        self.check_certificate(user)
        if MASTERS in user.groups:
            return
        if wanted.resource is None:
            if wanted.verb == "get":
                return
            raise self._denied(user, wanted)
        node = node_name(user)
        if node is not None:
            if not self._node_may(node, wanted):
                raise self._denied(user, wanted)
            return
        if BOOTSTRAPPERS in user.groups and self._bootstrapper_may(wanted):
            return
        raise self._denied(user, wanted)

    def check_certificate(self, user: Identity) -> None:
        """Raise StatusError 401 when the user's certificate counts no longer.

        Of those who act as somebody else it is their own: the other one has none.
        """
        if problem := self._problem(user):
            raise errors.unauthorized(problem)

    def _bootstrapper_may(self, wanted: Attributes) -> bool:
        """A joining machine may only ask for its certificate and look whether it is there."""
        assert wanted.resource is not None
        return (
            wanted.resource.plural == "certificatesigningrequests"
            and wanted.subresource == ""
            and wanted.verb in ("create", "get")
        )

    def _node_may(self, node: str, wanted: Attributes) -> bool:
        assert wanted.resource is not None
        plural, verb, sub = wanted.resource.plural, wanted.verb, wanted.subresource
        match plural:
            case "nodes" if not wanted.resource.group:
                allowed = ("update", "patch") if sub == "status" else ("get",)
                return wanted.name == node and sub in ("", "status") and verb in allowed
            case "pods" if not wanted.resource.group:
                return self._pod_of_node(node, wanted)
            case "certificatesigningrequests":
                return not sub and verb in ("create", "get")
            case "leases":
                own = wanted.namespace == "kube-node-lease" and wanted.name == node
                return own and verb in ("get", "update", "patch")
            case "secrets" | "configmaps":
                return verb == "get" and self._used_by_node(
                    node, plural, wanted.namespace, wanted.name
                )
        return False

    def _pod_of_node(self, node: str, wanted: Attributes) -> bool:
        """A node reads its pods, reports their status and removes those that are deleting."""
        if not wanted.name or self._node_of_pod(wanted.namespace, wanted.name) != node:
            return False
        if wanted.subresource == "status":
            return wanted.verb in ("get", "update", "patch")
        return wanted.subresource == "" and wanted.verb == "get"

    def _denied(self, user: Identity, wanted: Attributes) -> errors.StatusError:
        resource = wanted.resource
        if resource is None:
            why = f'User "{user.user}" cannot {wanted.verb} path "{wanted.path}"'
            return errors.forbidden_request(None, "", why)
        what = resource.plural + (f"/{wanted.subresource}" if wanted.subresource else "")
        where = (
            f' in the namespace "{wanted.namespace}"'
            if wanted.namespace
            else (" at the cluster scope")
        )
        why = (
            f'User "{user.user}" cannot {wanted.verb} resource "{what}" in API group '
            f'"{resource.group}"{where}'
        )
        return errors.forbidden_request(resource, wanted.name, why)


def node_name(user: Identity) -> str | None:
    """The node that this identity is, or None."""
    if NODES_GROUP in user.groups and user.user.startswith(NODE_USER_PREFIX):
        return user.user.removeprefix(NODE_USER_PREFIX)
    return None
