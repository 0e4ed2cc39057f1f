"""A certificate signing request records who made it, whatever the body says.

Whoever has just a join token asks for the certificate of a node, and for nothing else.
"""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.resource import Resource
from common.api.types.certificates_v1 import CertificateSigningRequest
from master.apiserver.auth.authenticator import BOOTSTRAPPERS
from master.apiserver.registry.request import Context

KUBELET_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"


async def certificate_requester(ctx: Context, resource: Resource, new: Any, old: Any) -> None:
    """Set spec.username and spec.groups on create; raises StatusError 403."""
    if old is None and isinstance(new, CertificateSigningRequest):
        if BOOTSTRAPPERS in ctx.user.groups and new.spec.signerName != KUBELET_SIGNER:
            why = f'a join token is for "{KUBELET_SIGNER}", not for signer "{new.spec.signerName}"'
            raise errors.forbidden_request(resource, new.metadata.name, why)
        new.spec.username = ctx.user.user
        new.spec.groups = ctx.user.groups
        new.spec.uid = ""
        new.spec.extra = {}
