"""A certificate signing request records who made it, whatever the body says."""

from __future__ import annotations

from typing import Any

from common.api.resource import Resource
from common.api.types.certificates_v1 import CertificateSigningRequest
from master.apiserver.registry.request import Context


async def certificate_requester(ctx: Context, resource: Resource, new: Any, old: Any) -> None:
    """Set spec.username and spec.groups on create."""
    if old is None and isinstance(new, CertificateSigningRequest):
        new.spec.username = ctx.user.user
        new.spec.groups = ctx.user.groups
        new.spec.uid = ""
        new.spec.extra = {}
