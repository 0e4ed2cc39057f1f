"""What becomes of a CertificateSigningRequest, for the controllers that sign some."""

from __future__ import annotations

from datetime import datetime

from common.api import times
from common.api.types.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
)
from common.client.commands import Command, Update
from master.controllers.base import View

REQUESTS = "certificatesigningrequests.certificates.k8s.io"
MESSAGE_MAX = 1024


def store(request: CertificateSigningRequest, view: View, reason: str) -> Command:
    """Store what was decided about a request."""
    resource = view[REQUESTS].resource
    return Update(resource=resource, body=request, reason=reason, subresource="status")


def conclude(
    request: CertificateSigningRequest, kind: str, reason: str, message: str, now: datetime
) -> None:
    """Decide about a request: `kind` is Approved or Denied."""
    stamp = times.to_time(now)
    request.status.conditions = (
        CertificateSigningRequestCondition(
            type=kind,
            status="True",
            reason=reason,
            message=message,
            lastUpdateTime=stamp,
            lastTransitionTime=stamp,
        ),
    )
