"""A certificate signing request records who made it, whatever the body says.

Whoever has just a join token asks for the certificate of a node, and for nothing else. So does a
node.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from common.api import errors
from common.api.resource import Resource
from common.api.types.certificates_v1 import CertificateSigningRequest
from common.api.wellknown import BOOTSTRAPPERS, KUBELET_SIGNER, NODES_GROUP
from common.limits.ratelimit import TokenBucket
from common.runtime.clock import Clock
from common.security.csr import ASKED_BY
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target

BURST = 50.0
PER_SECOND = 0.2
"""Requests that a token or a node may make: each is kept for a day, with up to 16 KiB."""
USERS_MAX = 1024


class CertificateRequester:
    """Admission of requests; of those that are made with a join token there may be so many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rates: OrderedDict[str, TokenBucket] = OrderedDict()

    async def __call__(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Set who asks, and by which certificate, on create; raises StatusError 403 or 429."""
        if old is not None or not isinstance(new, CertificateSigningRequest):
            return
        if {BOOTSTRAPPERS, NODES_GROUP}.intersection(ctx.user.groups):
            self._check_machine(ctx.user.user, target.resource, new)
        new.spec.username = ctx.user.user
        new.spec.groups = ctx.user.groups
        new.spec.uid = ctx.user.uid
        asked_by = {ASKED_BY: (ctx.user.serial,)} if NODES_GROUP in ctx.user.groups else {}
        new.spec.extra = {**ctx.user.extra, **asked_by}

    def _check_machine(self, user: str, resource: Resource, new: CertificateSigningRequest) -> None:
        if new.spec.signerName != KUBELET_SIGNER:
            why = f'machines ask "{KUBELET_SIGNER}", not signer "{new.spec.signerName}"'
            raise errors.forbidden_request(resource, new.metadata.name, why)
        rate = self._rates.pop(user, None) or TokenBucket(per_second=PER_SECOND, burst=BURST)
        self._rates[user] = rate
        if len(self._rates) > USERS_MAX:
            self._rates.popitem(last=False)
        if not rate.take(self._clock.monotonic()):
            text = "too many certificate signing requests of this machine or join token"
            raise errors.too_many_requests(text, retry_after_seconds=int(1 / PER_SECOND))
