"""Signs the client certificates of joining nodes: approved and issued in one step.

Only requests of holders of a join token, for the node that the request names, for client use.
Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from common.api import times
from common.api.resource import Resource
from common.api.types.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
)
from common.client.commands import Command, Update
from common.client.informer import Item
from common.security.ca import CertificateError
from common.security.csr import check_node_request
from master.controllers.base import View

REQUESTS = "certificatesigningrequests.certificates.k8s.io"
SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
BOOTSTRAPPERS = "system:bootstrappers"
USAGES = {"client auth", "digital signature", "key encipherment"}

Sign = Callable[[bytes, str], bytes]
"""(request PEM, node name) -> certificate PEM; raises CertificateError."""


class CertificateSigningController:
    """Decides about requests as soon as they appear."""

    name: ClassVar[str] = "csrsigning"
    watches: ClassVar[Sequence[str]] = (REQUESTS,)

    def __init__(self, sign: Sign) -> None:
        self._sign = sign

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """Every request that is there."""
        return [new.key] if new is not None else []

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Approve and sign, or deny with the reason."""
        item = view[REQUESTS].by_key(key)
        return decide(item, view[REQUESTS].resource, self._sign, now) if item is not None else []


def decide(item: Item, resource: Resource, sign: Sign, now: datetime) -> list[Command]:
    """Approve and sign, or deny with the reason; nothing when somebody has decided already."""
    request = item.decode(CertificateSigningRequest)
    if request.spec.signerName != SIGNER or request.status.conditions:
        return []
    try:
        node = _node_of(request)
        certificate = sign(request.spec.request, node)
    except CertificateError as error:
        _conclude(request, "Denied", "NodeRequestRefused", str(error), now)
        return [Update(resource=resource, body=request, reason=str(error), subresource="status")]
    _conclude(request, "Approved", "AutoApproved", "Auto approving node client certificate", now)
    request.status.certificate = certificate
    reason = f"join of node {node}"
    return [Update(resource=resource, body=request, reason=reason, subresource="status")]


def _node_of(request: CertificateSigningRequest) -> str:
    """The node that the request is for; raises CertificateError when it may not have it."""
    node = check_node_request(request.spec.request)
    if BOOTSTRAPPERS not in request.spec.groups:
        raise CertificateError("only a holder of a join token may ask for a node's certificate")
    if "client auth" not in request.spec.usages or not set(request.spec.usages) <= USAGES:
        raise CertificateError("usages must be client auth, digital signature, key encipherment")
    return node


def _conclude(
    request: CertificateSigningRequest, kind: str, reason: str, message: str, now: datetime
) -> None:
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
