"""Authorization: who may do what. The first authorizer that has an opinion decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from common.api.errors import StatusError, unauthorized
from common.api.wellknown import BOOTSTRAPPERS, MASTERS
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizers.node import NodeAuthorizer, node_name
from master.apiserver.auth.authorizers.rbac import Policy

Problem = Callable[[Identity], str]
"""Why a certificate or a token does not count any more; '' when it does."""
_REQUESTS = ("certificates.k8s.io", "certificatesigningrequests", "")


class Decision(NamedTuple):
    """`denied` is a no that nobody else may turn into a yes."""

    allowed: bool
    reason: str = ""
    denied: bool = False


class Authorizer:
    """Administrators may do everything, nodes what is theirs, all others what a role gives them."""

    def __init__(self, node: NodeAuthorizer, policy: Policy, problem: Problem) -> None:
        self._node = node
        self.policy = policy
        self._problem = problem

    def authorize(self, user: Identity, wanted: Attributes) -> None:
        """Return when the request is allowed; raise StatusError 403 when it is not."""
        if not self.decide(user, wanted).allowed:
            raise denied(user, wanted)

    def decide(self, user: Identity, wanted: Attributes) -> Decision:
        """Whether a user may do this, and why."""
        if MASTERS in user.groups:
            return Decision(True, f'administrator: member of the group "{MASTERS}"')
        node = node_name(user)
        if node is not None:
            allowed = self._node.allows(node, wanted)
            return Decision(allowed, "" if allowed else "not an object of this node", not allowed)
        if BOOTSTRAPPERS in user.groups and _is_join(wanted):
            return Decision(True, "joining nodes may ask for a certificate")
        reason = self.policy.allows(user, wanted)
        return Decision(bool(reason), reason)

    def allows_signer(self, user: Identity, verb: str, signer: str) -> bool:
        """Whether a user may `approve` or `sign` for a signer, or for all signers of its domain."""
        names = (signer, f"{signer.partition('/')[0]}/*")
        return any(
            self.decide(user, Attributes(verb, _REQUESTS[0], "signers", name=name)).allowed
            for name in names
        )

    def check_certificate(self, user: Identity) -> None:
        """Raise StatusError 401 when the user's certificate counts no longer.

        Of those who act as somebody else it is their own: the other one has none.
        """
        if problem := self._problem(user):
            raise unauthorized(problem)


def _is_join(wanted: Attributes) -> bool:
    """A joining machine may only ask for its certificate and look whether it is there."""
    asks = (wanted.group, wanted.plural, wanted.subresource) == _REQUESTS
    return asks and wanted.verb in ("create", "get")


def denied(user: Identity, wanted: Attributes, reason: str = "") -> StatusError:
    """403: who may not do what to which resource, in Kubernetes' words."""
    why = f'User "{user.user}" cannot {wanted}' + (f": {reason}" if reason else "")
    if wanted.path:
        return StatusError(403, "Forbidden", f"forbidden: {why}", details={})
    details: dict[str, Any] = {"name": wanted.name} if wanted.name else {}
    if wanted.group:
        details["group"] = wanted.group
    details["kind"] = wanted.plural
    resource = f"{wanted.plural}.{wanted.group}" if wanted.group else wanted.plural
    named = f' "{wanted.name}"' if wanted.name else ""
    return StatusError(403, "Forbidden", f"{resource}{named} is forbidden: {why}", details=details)
