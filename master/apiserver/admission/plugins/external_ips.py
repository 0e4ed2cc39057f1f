"""External IPs of Services: whoever may set one takes the traffic to any address (CVE-2020-8554).

Source: the admission plugin DenyServiceExternalIPs of Kubernetes.
"""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.types.core_v1 import Service
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target


async def deny_external_ips(ctx: Context, target: Target, new: Any, old: Any) -> None:
    """Raise StatusError 403 for an address that the Service did not have before."""
    if not isinstance(new, Service):
        return
    known = old.spec.externalIPs if old is not None else ()
    if not set(new.spec.externalIPs) <= set(known):
        why = "Use of external IPs is denied by admission control"
        raise errors.forbidden_request(target.resource, new.metadata.name, why)
