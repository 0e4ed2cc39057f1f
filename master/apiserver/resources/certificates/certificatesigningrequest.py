"""Rules of CertificateSigningRequest, and its approval subresource."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Self

import msgspec

from common.api import errors, names, times
from common.api.codec import json as codec
from common.api.errors import FieldError
from common.api.fields import fields
from common.api.resource import Resource
from common.api.types.certificates_v1 import CertificateSigningRequest
from common.runtime.clock import Clock
from common.security.identity import Identity
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.strategy import Settings, Strategy, validate_metadata
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.apiserver.resources.certificates import csrrules
from master.apiserver.resources.lib import cells
from master.storage.entry import with_resource_version

FIELDS = fields("spec.signerName")

Make = Callable[[CertificateSigningRequest], CertificateSigningRequest]
"""What a request becomes of its present state."""


class CertificateSigningRequestStrategy(Strategy):
    """Who asks is recorded by admission; the spec never changes.

    Requests go a day after their last change, as Kubernetes' cleaner removes those that wait for
    so long: whoever has a join token could fill the store otherwise.
    """

    ttl_seconds: ClassVar[int | None] = 24 * 3600

    def __init__(self, resource: Resource, *, clock: Clock) -> None:
        super().__init__(resource)
        self._clock = clock

    @classmethod
    def of(cls, resource: Resource, settings: Settings) -> Self:
        """With what its rules depend on."""
        return cls(resource, clock=settings.clock)

    def name_problems(self, name: str) -> list[str]:
        """Any name that a path can have."""
        return names.path_segment(name)

    def validate(self, obj: CertificateSigningRequest) -> list[FieldError]:
        """A signed request, a signer and usages are needed."""
        return errors.first(csrrules.validate_spec(obj.spec))

    def prepare_update(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest
    ) -> None:
        """Spec and status have been set by others."""
        new.spec, new.status = old.spec, old.status

    def prepare_status_update(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest
    ) -> None:
        """The signer's certificate and conditions; decisions are made elsewhere."""
        super().prepare_status_update(new, old)
        csrrules.keep_decisions(new, old)
        now = times.to_time(self._clock.now())
        new.status.conditions = csrrules.stamped(new.status.conditions, old.status.conditions, now)

    def validate_status_update(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest
    ) -> list[FieldError]:
        """Conditions and a certificate that may be there; what is decided stays decided."""
        return errors.first(csrrules.validate_status(new, old))


class Approval(Handler):
    """certificatesigningrequests/approval: the conditions, Approved and Denied among them.

    Who may write them needs the verb `approve` on the signer, too: on `signers` by its name, or by
    its domain and `/*`.
    """

    def __init__(self, pipeline: Pipeline, authorizer: Authorizer) -> None:
        self._pipeline = pipeline
        self._authorizer = authorizer

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """The request itself."""
        current = await self._pipeline.read(target)
        return with_resource_version(current.value, current.revision)

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Take the metadata and the conditions of the body."""
        obj = bodies.decode(ctx, body, CertificateSigningRequest, target.resource.api_version)
        bodies.check_name(target.name, obj.metadata.name)
        return await self._apply(ctx, target, lambda _: obj)

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """Take the metadata and the conditions that the patch makes."""

        def make(current: CertificateSigningRequest) -> CertificateSigningRequest:
            return bodies.patched(ctx, codec.encode(current), patcher, CertificateSigningRequest)

        return await self._apply(ctx, target, make)

    def _check(self, user: Identity, resource: Resource, obj: CertificateSigningRequest) -> None:
        signer = obj.spec.signerName
        if self._authorizer.allows_signer(user, "approve", signer):
            return
        why = f'user not permitted to approve requests with signerName "{signer}"'
        raise errors.forbidden_request(resource, obj.metadata.name, why)

    async def _apply(self, ctx: Context, target: Target, make: Make) -> bytes:
        """Change the request; raises StatusError 409 or 422."""
        resource, name = target.resource, target.name
        strategy = self._pipeline.strategy(resource)

        def change(current: CertificateSigningRequest) -> CertificateSigningRequest:
            wanted, now = make(current), times.to_time(self._pipeline.clock.now())
            seen = wanted.metadata.resourceVersion
            if seen not in ("", "0", current.metadata.resourceVersion):
                raise errors.conflict(resource, name, errors.MODIFIED)
            self._check(ctx.user, resource, current)
            new = msgspec.structs.replace(
                current,
                metadata=msgspec.structs.replace(
                    wanted.metadata, generation=current.metadata.generation
                ),
                status=msgspec.structs.replace(
                    current.status,
                    conditions=csrrules.stamped(
                        wanted.status.conditions, current.status.conditions, now
                    ),
                ),
            )
            findings = errors.first(validate_metadata(new.metadata, strategy))
            findings += errors.first(csrrules.validate_status(new, current))
            if findings:
                raise errors.invalid_object(resource.group, resource.kind, name, findings)
            return new

        return await self._pipeline.update(ctx, target, change)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a CertificateSigningRequest."""
    status, seconds = obj.get("status", {}), obj.get("spec", {}).get("expirationSeconds")
    kinds = {condition.get("type") for condition in status.get("conditions", [])}
    words = [next((kind for kind in ("Denied", "Approved") if kind in kinds), "Pending")]
    words += ["Failed"] if "Failed" in kinds else []
    words += ["Issued"] if status.get("certificate") else []
    return {
        "SignerName": obj.get("spec", {}).get("signerName") or cells.NONE,
        "RequestedDuration": cells.NONE if seconds is None else times.human_duration(seconds),
        "Condition": ",".join(words),
    }


RULES = {
    "certificatesigningrequests.certificates.k8s.io": Rules(
        CertificateSigningRequestStrategy, cells_of, FIELDS
    )
}
