"""What becomes of a CertificateSigningRequest, for the controllers that sign some."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from common.api import times
from common.api.types.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
)
from common.client.commands import Command, Update
from common.security.ca import CertificateError
from master.controllers.base import View

REQUESTS = "certificatesigningrequests.certificates.k8s.io"
MESSAGE_MAX = 1024
SIGNATURES_MAX = 1000


Decide = Callable[[CertificateSigningRequest], list[Command]]
"""Approves a request and signs it; raises CertificateError for one that is refused."""


class Signatures:
    """The certificates that were made for the last requests.

    Who decides again, as the outcome of a write was not known, hands out the same one: the first
    may be stored, and what was recorded of it must stay true.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[str, bytes] = OrderedDict()

    def of(self, request: CertificateSigningRequest, sign: Callable[[], bytes]) -> bytes:
        """The certificate of a request: made now, if there is none."""
        uid = request.metadata.uid
        if uid not in self._made:
            self._made[uid] = sign()
            if len(self._made) > SIGNATURES_MAX:
                self._made.popitem(last=False)
        return self._made[uid]


class Refusal(NamedTuple):
    """Whose requests a controller decides about, by signer, and how it calls a refused one."""

    signer: str
    reason: str


def decided(key: str, view: View, now: datetime, refusal: Refusal, decide: Decide) -> list[Command]:
    """What becomes of a request: nothing when it is gone, another signer's, or decided already."""
    item = view[REQUESTS].by_key(key)
    if item is None:
        return []
    request = item.decode(CertificateSigningRequest)
    if request.spec.signerName != refusal.signer or request.status.conditions:
        return []
    try:
        return decide(request)
    except CertificateError as error:
        why = str(error)[:MESSAGE_MAX]
        conclude(request, "Denied", refusal.reason, why, now)
        return [store(request, view, why)]


def is_approved(request: CertificateSigningRequest) -> bool:
    """Whether somebody has approved a request that has neither a certificate nor failed."""
    kinds = {condition.type for condition in request.status.conditions}
    return "Approved" in kinds and "Failed" not in kinds and not request.status.certificate


def store(request: CertificateSigningRequest, view: View, reason: str) -> Command:
    """Store what was decided about a request."""
    resource = view[REQUESTS].resource
    return Update(resource=resource, body=request, reason=reason, subresource="status")


def conclude(
    request: CertificateSigningRequest, kind: str, reason: str, message: str, now: datetime
) -> None:
    """Decide about a request (`kind` is Approved or Denied), or say that it has Failed."""
    stamp = times.to_time(now)
    new = CertificateSigningRequestCondition(
        type=kind,
        status="True",
        reason=reason,
        message=message,
        lastUpdateTime=stamp,
        lastTransitionTime=stamp,
    )
    request.status.conditions = (*request.status.conditions, new)
