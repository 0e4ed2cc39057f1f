"""Who the parts of a master are when they call the API: what they may do is said by roles."""

from __future__ import annotations

from common.api.wellknown import AUTHENTICATED, KUBE_SYSTEM, MASTERS
from common.security.identity import Identity
from master.apiserver.auth.serviceaccounts import GROUP

APISERVER = Identity("system:apiserver", (MASTERS, AUTHENTICATED))
"""The API server itself: it follows all objects, and tells of nodes what they cannot."""
SCHEDULER = Identity("system:kube-scheduler", (AUTHENTICATED,))


def controller(account: str) -> Identity:
    """A controller, as the service account that Kubernetes' roles are bound to."""
    user = f"system:serviceaccount:{KUBE_SYSTEM}:{account}"
    return Identity(user, (GROUP, f"{GROUP}:{KUBE_SYSTEM}", AUTHENTICATED))
