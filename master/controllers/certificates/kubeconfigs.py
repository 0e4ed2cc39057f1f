"""Signs the client certificates of users, and records each: it counts until its Secret is deleted.

`wherry kubeconfig create` makes the requests of one signer, which administrators alone may use and
which approves them itself. Kubernetes' own signer of clients signs what somebody has approved
(`kubectl certificate approve`), for no administrator and for no node. Source:
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
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
from common.api.wellknown import CLIENT_SIGNER, MASTERS, NODES_GROUP
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
    MESSAGE_MAX,
    REQUESTS,
    Refusal,
    Signatures,
    conclude,
    decided,
    is_approved,
    store,
)
from master.controllers.lib.resources import SECRETS

REFUSAL = Refusal(SIGNER, "KubeconfigRefused")
FAILURE = "SignerValidationFailure"
USAGES = {"client auth", "digital signature", "key encipherment"}
"""What Kubernetes' signer of clients permits."""
LIFETIME = timedelta(days=90)
LIFETIME_MAX = timedelta(days=3650)

Sign = Callable[[bytes, Leaf], bytes]
"""(request PEM, what the certificate says) -> certificate PEM; raises CertificateError."""


class KubeconfigController:
    """Decides about requests of the one signer as soon as they appear, signs those of the other as
    soon as they are approved.
    """

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
        """Record and sign, or say why not."""
        item = view[REQUESTS].by_key(key)
        request = item.decode(CertificateSigningRequest) if item is not None else None
        if request is not None and request.spec.signerName == CLIENT_SIGNER:
            return self._sign_approved(request, view, now) if is_approved(request) else []
        return decided(key, view, now, REFUSAL, lambda one: self._sign_own(one, view, now))

    def _sign_own(
        self, request: CertificateSigningRequest, view: View, now: datetime
    ) -> list[Command]:
        """A request by `wherry kubeconfig create`. Raises CertificateError."""
        if MASTERS not in request.spec.groups:
            raise CertificateError("only administrators may make kubeconfigs")
        if set(request.spec.usages) != {"client auth"}:
            raise CertificateError("usages must be client auth")
        keep, name = self._sign_and_record(request, _leaf(request), view)
        conclude(request, "Approved", "Recorded", f"recorded as {name}", now)
        return [keep, store(request, view, keep.reason)]

    def _sign_approved(
        self, request: CertificateSigningRequest, view: View, now: datetime
    ) -> list[Command]:
        """A request that somebody has approved."""
        try:
            keep, _ = self._sign_and_record(request, _client_leaf(request), view)
        except CertificateError as error:
            why = str(error)[:MESSAGE_MAX]
            conclude(request, "Failed", FAILURE, why, now)
            return [store(request, view, why)]
        return [keep, store(request, view, keep.reason)]

    def _sign_and_record(
        self, request: CertificateSigningRequest, leaf: Leaf, view: View
    ) -> tuple[Create | Update, str]:
        """Set the certificate; answers the write of its record, and the name of that.

        The record comes first: without it the certificate counts for nothing.
        """
        present = view["secrets"].get(NAMESPACE, NAME_PREFIX + leaf.common_name)
        if present is not None and _request_of(present) != request.metadata.uid:
            raise CertificateError(
                f"there is a kubeconfig {leaf.common_name} already: revoke it, or take another name"
            )
        sign = partial(self._sign, request.spec.request, leaf)
        certificate = self._signatures.of(request, sign)
        record = _record(request, leaf, certificate)
        request.status.certificate = certificate
        why, name = f"kubeconfig {leaf.common_name}", record.metadata.name
        if present is None:
            return Create(resource=SECRETS, namespace=NAMESPACE, body=record, reason=why), name
        record.metadata = present.decode(Secret).metadata
        return Update(resource=SECRETS, body=record, reason=why), name


def _leaf(request: CertificateSigningRequest) -> Leaf:
    """What the certificate is to say; raises CertificateError for what nobody gets."""
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


def _client_leaf(request: CertificateSigningRequest) -> Leaf:
    """The same of Kubernetes' signer. Whoever approves is not trusted to make administrators."""
    if "client auth" not in request.spec.usages or not USAGES.issuperset(request.spec.usages):
        raise CertificateError(f"usages must be client auth, among {', '.join(sorted(USAGES))}")
    leaf = _leaf(request)
    for group in {MASTERS, NODES_GROUP}.intersection(leaf.organizations):
        raise CertificateError(f"the signer {CLIENT_SIGNER} gives nobody the group {group}")
    return leaf


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
