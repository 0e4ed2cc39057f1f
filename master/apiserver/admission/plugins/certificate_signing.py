"""Who may sign: the verb `sign` on the signer; and what is decided through `approval` alone.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#certificatesigning
"""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.types.certificates_v1 import CertificateSigningRequest
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.authorizers.rbac import SERVICE_ACCOUNT_PREFIX
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.apiserver.resources.certificates import csrrules

DECIDING_SIGNERS = frozenset(
    f"{SERVICE_ACCOUNT_PREFIX}kube-system:{name}"
    for name in ("certificate-controller", "kubeconfig-controller")
)


class CertificateSigning:
    """Admission of changes to the status of signing requests."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def __call__(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Raise StatusError 403 for a certificate by one who may not sign, 422 for a decision.

        The controllers that sign decide and sign in one write: no request is ever approved without
        the certificate that it was approved for.
        """
        if target.subresource != "status" or not isinstance(new, CertificateSigningRequest):
            return
        if new.status.certificate != old.status.certificate and not self._authorizer.allows_signer(
            ctx.user, "sign", new.spec.signerName
        ):
            why = f'user not permitted to sign requests with signerName "{new.spec.signerName}"'
            raise errors.forbidden_request(target.resource, target.name, why)
        if ctx.user.user not in DECIDING_SIGNERS and (
            findings := errors.first(csrrules.added_decisions(new, old))
        ):
            resource = target.resource
            raise errors.invalid_object(resource.group, resource.kind, target.name, findings)
