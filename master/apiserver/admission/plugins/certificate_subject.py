"""Kubernetes' signer of clients is asked for no administrator.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#certificatesubjectrestriction
"""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.types.certificates_v1 import CertificateSigningRequest
from common.api.wellknown import CLIENT_SIGNER, MASTERS
from common.security.ca import CertificateError
from common.security.csr import check_request
from common.security.identity import subject_values_of
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target


async def certificate_subject(ctx: Context, target: Target, new: Any, old: Any) -> None:
    """Raise StatusError 403 for a request for that group."""
    if old is not None or not isinstance(new, CertificateSigningRequest):
        return
    if new.spec.signerName != CLIENT_SIGNER:
        return
    try:
        _, groups = subject_values_of(check_request(new.spec.request))
    except CertificateError:
        return  # the signer says what is wrong with its names
    if MASTERS in groups:
        why = f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
        raise errors.forbidden_request(target.resource, new.metadata.name, why)
