"""Signs the client certificates of kubeconfigs that administrators ask for, and records them.

`wherry kubeconfig create` makes the request. Until its Secret is deleted the certificate counts;
Kubernetes' own signer of clients has no such record, and signs for no administrator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar

from common.api import names, times
from common.api.resource import Resource
from common.api.types.certificates_v1 import CertificateSigningRequest
from common.api.types.core_v1 import Secret
from common.api.types.meta_v1 import ObjectMeta
from common.api.wellknown import MASTERS
from common.client.commands import Command, Create, Update
from common.client.informer import Item
from common.security.ca import CLIENT, CertificateError, Leaf, serial_of
from common.security.csr import check_request
from common.security.identity import identity_from_pem, subject_values_of
from common.security.kubeconfigs import (
    AUTHORITY,
    EXPIRES,
    GROUP,
    GROUPS,
    NAME_MAX,
    NAME_PREFIX,
    NAMESPACE,
    REQUEST,
    SECRET_TYPE,
    SERIAL,
    SIGNER,
)
from common.security.validity import validity
from master.controllers.base import View
from master.controllers.certificates.signingrequests import (
    REQUESTS,
    Refusal,
    Signatures,
    conclude,
    decided,
    store,
)
from master.controllers.lib.resources import SECRETS

REFUSAL = Refusal(SIGNER, "KubeconfigRefused")
LIFETIME = timedelta(days=90)
LIFETIME_MAX = timedelta(days=3650)

Sign = Callable[[bytes, Leaf], bytes]
"""(request PEM, what the certificate says) -> certificate PEM; raises CertificateError."""


class KubeconfigController:
    """Decides about requests as soon as they appear."""

    name: ClassVar[str] = "kubeconfigs"
    account: ClassVar[str] = "kubeconfig-controller"
    watches: ClassVar[Sequence[str]] = (REQUESTS, "secrets")

    def __init__(self, sign: Sign) -> None:
        self._sign = sign
        self._signatures = Signatures()

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """Every request that is there; records say nothing new."""
        return [new.key] if new is not None and resource.group_resource == REQUESTS else []

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Record and sign, or deny with the reason."""
        return decided(key, view, now, REFUSAL, lambda one: self._sign_request(one, view, now))

    def _sign_request(
        self, request: CertificateSigningRequest, view: View, now: datetime
    ) -> list[Command]:
        """The record comes first: without it the certificate counts for nothing."""
        leaf = _leaf(request)
        present = view["secrets"].get(NAMESPACE, NAME_PREFIX + leaf.common_name)
        if present is not None and _request_of(present) != request.metadata.uid:
            raise CertificateError(
                f"there is a kubeconfig {leaf.common_name} already: revoke it, or take another name"
            )
        sign = partial(self._sign, request.spec.request, leaf)
        certificate = self._signatures.of(request, sign)
        record = _record(request, leaf, certificate)
        conclude(request, "Approved", "Recorded", f"recorded as {record.metadata.name}", now)
        request.status.certificate = certificate
        why = f"kubeconfig {leaf.common_name}"
        if present is None:
            keep: Command = Create(resource=SECRETS, namespace=NAMESPACE, body=record, reason=why)
        else:
            record.metadata = present.decode(Secret).metadata
            keep = Update(resource=SECRETS, body=record, reason=why)
        return [keep, store(request, view, why)]


def _leaf(request: CertificateSigningRequest) -> Leaf:
    """What the certificate is to say; raises CertificateError for what nobody gets."""
    if MASTERS not in request.spec.groups:
        raise CertificateError("only administrators may make kubeconfigs")
    if set(request.spec.usages) != {"client auth"}:
        raise CertificateError("usages must be client auth")
    users, groups = subject_values_of(check_request(request.spec.request))
    if len(users) != 1 or names.dns_subdomain(users[0]) or len(users[0]) > NAME_MAX:
        raise CertificateError(
            f"the common name must be a lower case name of at most {NAME_MAX} characters"
        )
    seconds = request.spec.expirationSeconds
    lifetime = timedelta(seconds=seconds) if seconds else LIFETIME
    return Leaf(
        common_name=users[0],
        organizations=tuple(dict.fromkeys((GROUP, *groups))),
        usages=(CLIENT,),
        lifetime=min(lifetime, LIFETIME_MAX),
    )


def _record(request: CertificateSigningRequest, leaf: Leaf, certificate: bytes) -> Secret:
    expires = times.to_time(validity(certificate).expires)
    groups = ",".join(name for name in leaf.organizations if name != GROUP)
    return Secret(
        metadata=ObjectMeta(
            name=NAME_PREFIX + leaf.common_name,
            namespace=NAMESPACE,
            annotations={REQUEST: request.metadata.uid},
        ),
        type=SECRET_TYPE,
        data={
            SERIAL: serial_of(certificate).encode(),
            EXPIRES: expires.encode(),
            GROUPS: groups.encode(),
            AUTHORITY: identity_from_pem(certificate).authority.encode(),
        },
    )


def _request_of(record: Item) -> str:
    return record.decode(Secret).metadata.annotations.get(REQUEST, "")


def of_others(records: Iterable[Item], authority: str, now: datetime) -> Iterator[str]:
    """The names of the kubeconfigs that have not expired and that another authority has signed
    than the one with that id."""
    for each in records:
        if each.name.startswith(NAME_PREFIX):
            secret = each.decode(Secret)
            other = secret.data.get(AUTHORITY) != authority.encode()
            if secret.type == SECRET_TYPE and other and not _has_expired(secret, now):
                yield each.name.removeprefix(NAME_PREFIX)


def _has_expired(record: Secret, now: datetime) -> bool:
    """Whether a record says so; one that says nothing that can be read counts."""
    try:
        return times.parse(record.data.get(EXPIRES, b"").decode("utf-8", "replace")) <= now
    except times.InvalidTime:
        return False
