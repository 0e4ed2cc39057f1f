"""Signs the client certificates of nodes: approved and issued in one step.

For holders of a join token that has uses left, for the node that the request names, for client
use; for a node that there is only from its own machine. And for nodes: a certificate that replaces
their own, which counts until the new one is used. Source:
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar

from common.api import times
from common.api.resource import Resource
from common.api.types.certificates_v1 import (
    CertificateSigningRequest,
)
from common.api.types.core_v1 import Node, Secret
from common.api.wellknown import KUBELET_SIGNER, NODE_USER_PREFIX, NODES_GROUP
from common.client.commands import Command, Patch
from common.client.informer import Item
from common.security.ca import CertificateError, serial_of
from common.security.csr import (
    ASKED_BY,
    MACHINE_ID,
    NEXT_CERTIFICATE,
    NODE_CERTIFICATE,
    REVOKED,
    check_node_request,
)
from common.security.tokens import NAME_PREFIX, NAMESPACE, USED_BY, USES
from master.controllers.base import View
from master.controllers.certificates.signingrequests import (
    REQUESTS,
    Refusal,
    Signatures,
    conclude,
    decided,
    store,
)
from master.controllers.lib.resources import NODES, SECRETS

REFUSAL = Refusal(KUBELET_SIGNER, "NodeRequestRefused")
BOOTSTRAPPERS = "system:bootstrappers"
BOOTSTRAP_USER = "system:bootstrap:"
USAGES = {"client auth", "digital signature", "key encipherment"}

SUFFIX = 5
"""The random characters at the end of a name that was generated."""

Sign = Callable[[bytes, str], bytes]
"""(request PEM, node name) -> certificate PEM; raises CertificateError."""


class CertificateSigningController:
    """Decides about requests as soon as they appear."""

    name: ClassVar[str] = "csrsigning"
    account: ClassVar[str] = "certificate-controller"
    watches: ClassVar[Sequence[str]] = (REQUESTS,)

    def __init__(self, sign: Sign) -> None:
        self._sign = sign
        self._signatures = Signatures()

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """Every request that is there."""
        return [new.key] if new is not None else []

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Approve and sign, or deny with the reason; nothing when somebody has decided already."""
        return decided(key, view, now, REFUSAL, lambda request: self._approve(request, view, now))

    def _approve(
        self, request: CertificateSigningRequest, view: View, now: datetime
    ) -> list[Command]:
        """Take a use of the token, give the Node to the certificate, and then issue it.

        Raises CertificateError for a request that is refused.
        """
        node = _node_of(request)
        if _has_asked_again(request, view, now):
            raise CertificateError(f"node {node} has asked again since")
        known = view["nodes"].get("", node)
        renews = _renews(request, node)
        commands = [] if renews else _use_of_token(request, view)
        if known is not None:
            (_check_own if renews else _check_machine)(request, known)
        sign = partial(self._sign, request.spec.request, node)
        certificate = self._signatures.of(request, sign)
        if known is not None:
            asked_by = _asked_by(request) if renews else ""
            commands.append(_give(known, serial_of(certificate), asked_by))
        text = "Auto approving node client certificate"
        conclude(request, "Approved", "AutoApproved", text, now)
        request.status.certificate = certificate
        return [
            *commands,
            store(request, view, f"{'renewal' if renews else 'join'} of node {node}"),
        ]


def _node_of(request: CertificateSigningRequest) -> str:
    """The node that the request is for; raises CertificateError when it may not have it."""
    node = check_node_request(request.spec.request)
    if BOOTSTRAPPERS not in request.spec.groups and not _renews(request, node):
        raise CertificateError(
            "only the node itself and a holder of a join token may ask for its certificate"
        )
    if "client auth" not in request.spec.usages or not set(request.spec.usages) <= USAGES:
        raise CertificateError("usages must be client auth, digital signature, key encipherment")
    return node


def _has_asked_again(request: CertificateSigningRequest, view: View, now: datetime) -> bool:
    """Whether the machine waits for the answer to a later request: it takes no other one, and
    the Node must not be given to a certificate that nobody has.

    No machine asks twice within a second, so that nothing is looked for when many come at once.
    """
    meta = request.metadata
    if times.age_seconds(meta.creationTimestamp, now) <= 1.0:
        return False
    alike = (each for each in view[REQUESTS].list() if each.name[:-SUFFIX] == meta.name[:-SUFFIX])
    return any(_follows(each.decode(CertificateSigningRequest), request) for each in alike)


def _follows(later: CertificateSigningRequest, request: CertificateSigningRequest) -> bool:
    """Whether it is the same one's, and came after the other."""
    asks, asked = later.metadata, request.metadata
    return (
        (asks.creationTimestamp or "") > (asked.creationTimestamp or "")
        and asks.generateName == asked.generateName
        and asks.annotations.get(MACHINE_ID) == asked.annotations.get(MACHINE_ID)
        and later.spec.username == request.spec.username
        and later.spec.signerName == KUBELET_SIGNER
    )


def _renews(request: CertificateSigningRequest, node: str) -> bool:
    """Whether the node itself asks."""
    spec = request.spec
    return NODES_GROUP in spec.groups and spec.username == f"{NODE_USER_PREFIX}{node}"


def _use_of_token(request: CertificateSigningRequest, view: View) -> list[Command]:
    """One use less, unless this request has taken the last one already; raises CertificateError
    when none is left."""
    name = NAME_PREFIX + request.spec.username.removeprefix(BOOTSTRAP_USER)
    item = view["secrets"].get(NAMESPACE, name)
    if item is None:
        raise CertificateError("the join token is not there any more")
    secret, uid = item.decode(Secret), request.metadata.uid
    uses = _uses(secret)
    if uses is None or secret.metadata.annotations.get(USED_BY) == uid:
        return []
    if uses < 1:
        raise CertificateError("the join token has been used as often as it may be")
    left = base64.b64encode(b"%d" % (uses - 1)).decode()
    return [
        Patch(
            resource=SECRETS,
            namespace=NAMESPACE,
            name=name,
            patch={
                "metadata": {**item.pin, "annotations": {USED_BY: uid}},
                "data": {USES: left},
            },
            reason="a join token is used",
        )
    ]


def _uses(secret: Secret) -> int | None:
    """How often a token may still be used; None for any number, as tokens of before."""
    text = secret.data.get(USES)
    if text is None:
        return None
    return int(text) if len(text) < 10 and text.isdigit() else 0


def _check_machine(request: CertificateSigningRequest, known: Item) -> None:
    """Raise CertificateError when the Node is another machine's."""
    node = known.decode(Node)
    asks = request.metadata.annotations.get(MACHINE_ID, "")
    if not asks or asks != node.status.nodeInfo.machineID:
        raise CertificateError(
            f"node {node.metadata.name} is another machine: choose another name, or delete the "
            "Node if its machine is gone for good"
        )


def _asked_by(request: CertificateSigningRequest) -> str:
    """The serial number of the certificate that a node asked by."""
    return "".join(request.spec.extra.get(ASKED_BY, ()))


def _check_own(request: CertificateSigningRequest, known: Item) -> None:
    """Raise CertificateError when the certificate that a node asked by counts no longer."""
    said = known.decode(Node).metadata.annotations
    present = said.get(NODE_CERTIFICATE)
    if present == REVOKED:
        raise CertificateError(f"the certificate of node {known.name} was revoked")
    asked_by = _asked_by(request)
    if not asked_by or (present and asked_by not in (present, said.get(NEXT_CERTIFICATE))):
        raise CertificateError(f"the certificate by which node {known.name} asks counts no longer")


def _give(known: Item, serial: str, asked_by: str) -> Command:
    """From now on the Node belongs to that certificate; or, until it is used, also to the one that
    a node has asked by, as it fetches the answer by that."""
    said: dict[str, str | None] = {NODE_CERTIFICATE: serial, NEXT_CERTIFICATE: None}
    if asked_by:
        said = {NODE_CERTIFICATE: asked_by, NEXT_CERTIFICATE: serial}
    return Patch(
        resource=NODES,
        namespace="",
        name=known.name,
        patch={"metadata": {**known.pin, "annotations": said}},
        reason=f"node {known.name} {'renews its certificate' if asked_by else 'joins again'}",
    )
