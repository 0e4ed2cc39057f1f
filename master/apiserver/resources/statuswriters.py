"""What of a status who may write, beside the rules of its kind. Pure."""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.resource import Resource
from common.api.types.certificates_v1 import CertificateSigningRequest
from common.security.identity import Identity
from master.apiserver.resources.certificates import csrrules
from master.apiserver.resources.core.node import noderestriction

SIGNING_CONTROLLERS = ("system:controller:csrsigning", "system:controller:kubeconfigs")


def check(user: Identity, resource: Resource, new: Any, old: Any) -> None:
    """Raise StatusError 403 or 422 for a change of status that is not for this user.

    The controllers that sign requests decide and sign in one write: no request is ever
    approved without the certificate that it was approved for.
    """
    noderestriction.check_status_update(user, resource, new, old)
    if isinstance(new, CertificateSigningRequest) and user.user not in SIGNING_CONTROLLERS:
        found = errors.first(csrrules.added_decisions(new, old))
        if found:
            raise errors.invalid_object(resource.group, resource.kind, new.metadata.name, found)
