"""Rules of CertificateSigningRequest, and its approval subresource."""

from __future__ import annotations

from typing import ClassVar

from common.api import errors
from common.api.codec import json as codec
from common.api.errors import FieldError
from common.api.resource import Resource
from common.api.types.certificates_v1 import CertificateSigningRequest
from master.apiserver.registry import bodies
from master.apiserver.registry.bodies import Body, Patcher
from master.apiserver.registry.request import Context
from master.apiserver.registry.strategy import Strategy
from master.apiserver.registry.subresource import Subresource
from master.storage.entry import with_resource_version

REQUEST_MAX_BYTES = 16 << 10


class CertificateSigningRequestStrategy(Strategy):
    """Who asks is recorded by admission; the spec never changes.

    Requests go a day after their last change, as Kubernetes' cleaner removes those that wait for
    so long: whoever has a join token could fill the store otherwise.
    """

    ttl_seconds: ClassVar[int | None] = 24 * 3600

    def validate(self, obj: CertificateSigningRequest) -> list[FieldError]:
        """A request, a signer and usages are needed."""
        found = []
        if not obj.spec.request:
            found.append(errors.required("spec.request"))
        elif len(obj.spec.request) > REQUEST_MAX_BYTES:
            found.append(errors.too_long("spec.request", REQUEST_MAX_BYTES))
        if not obj.spec.signerName:
            found.append(errors.required("spec.signerName"))
        elif "/" not in obj.spec.signerName:
            text = "should be a domain-prefixed path, e.g. 'example.com/signer'"
            found.append(errors.invalid("spec.signerName", obj.spec.signerName, text))
        if not obj.spec.usages:
            found.append(errors.required("spec.usages"))
        return found

    def prepare_update(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest
    ) -> None:
        """Spec and status have been set by others."""
        new.spec, new.status = old.spec, old.status


class Approval(Subresource):
    """certificatesigningrequests/approval: the conditions Approved and Denied."""

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        """The request itself."""
        found = await self._pipeline.read(resource, namespace, name)
        return with_resource_version(found.value, found.revision)

    async def update(
        self, ctx: Context, resource: Resource, namespace: str, name: str, body: Body
    ) -> bytes:
        """Take the conditions of the body."""
        obj = bodies.decode(ctx, body, CertificateSigningRequest, resource.api_version)
        bodies.check_name(name, obj.metadata.name)

        def change(current: CertificateSigningRequest) -> CertificateSigningRequest:
            current.metadata.resourceVersion = obj.metadata.resourceVersion
            current.status.conditions = obj.status.conditions
            return current

        return await self._pipeline.update(
            ctx, resource, namespace, name, change, subresource="status"
        )

    async def patch(
        self, ctx: Context, resource: Resource, namespace: str, name: str, patcher: Patcher
    ) -> bytes:
        """Take the conditions that the patch makes."""

        def change(current: CertificateSigningRequest) -> CertificateSigningRequest:
            new = bodies.patched(ctx, codec.encode(current), patcher, CertificateSigningRequest)
            current.metadata.resourceVersion = new.metadata.resourceVersion
            current.status.conditions = new.status.conditions
            return current

        return await self._pipeline.update(
            ctx, resource, namespace, name, change, subresource="status"
        )
