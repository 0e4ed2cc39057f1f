"""The token subresource of service accounts: issues a token, and stores nothing.

Source: k8s.io/kubernetes pkg/registry/core/serviceaccount/storage/token.go. A token is never valid
for longer than was asked for; Kubernetes makes a year of the hour that pods ask for, for clients
that do not read the file again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from common.api import errors, times
from common.api.codec import json as codec
from common.api.errors import FieldError, StatusError
from common.api.resource import Resource
from common.api.types import Time
from common.api.types.authentication_v1 import (
    BoundObjectReference,
    TokenRequest,
    TokenRequestSpec,
    TokenRequestStatus,
)
from common.api.types.core_v1 import Node, Pod, Secret, ServiceAccount
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.auth.accounttokens import API_AUDIENCES, Bound, Ref, TokenKeys
from master.apiserver.auth.authorizers.node import node_name
from master.apiserver.registry.freshness import fresh
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.apiserver.resources.core.node import noderestriction

GROUP = "authentication.k8s.io"
DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
IN_REFERENCE = "the UID in the bound object reference"
IS_ANOTHER = (
    "does not match the UID in record. The object might have been deleted and then recreated"
)
T = TypeVar("T", Node, Pod, Secret, ServiceAccount)


class TokenSubresource(Handler):
    """POST of serviceaccounts/NAME/token."""

    api_version = f"{GROUP}/v1"
    is_action = True

    def __init__(self, pipeline: Pipeline, keys: TokenKeys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """A token, by the wishes of a TokenRequest.

        Raises StatusError: 404 for an account or an object that is not there, 409 for another one
        of its name, 422 for a time that is too short or too long, 403 for what a node may not have.
        """
        request = bodies.decode(ctx, body, TokenRequest, f"{GROUP}/v1")
        _check_names(request.metadata, target)
        await fresh(self._pipeline.cache)
        account = self._find(ServiceAccount, "serviceaccounts", target.namespace, target.name)
        spec, now = request.spec, self._pipeline.clock.now()
        seconds = DEFAULT_SECONDS if spec.expirationSeconds is None else spec.expirationSeconds
        _check(request.metadata, seconds, account)
        self._check_node(ctx, target, spec)
        bound = self._bound(spec.boundObjectRef, account)
        spec.audiences, spec.expirationSeconds = spec.audiences or API_AUDIENCES, seconds
        token = self._issue(bound, spec.audiences, int(now.timestamp()), seconds)
        expires = times.to_time(times.later(now, seconds))
        _describe(request.metadata, account.metadata, times.to_time(now))
        request.status = TokenRequestStatus(token=token, expirationTimestamp=expires)
        return codec.encode(request)

    def _issue(self, bound: Bound, audiences: Sequence[str], now: int, seconds: int) -> str:
        jti = self._pipeline.rng.uuid()
        try:
            return self._keys.issue(bound, audiences, jti=jti, now=now, seconds=seconds)
        except ValueError as error:
            raise errors.bad_request(str(error)) from error

    def _find(self, cls: type[T], plural: str, namespace: str, name: str) -> T:
        """An object that must be there; raises StatusError 404."""
        entry = self._pipeline.cache.find(plural, name, namespace)
        if entry is None:
            raise errors.not_found(self._pipeline.scheme.require("", "v1", plural), name)
        return codec.decode(entry.data, cls)

    def _check_node(self, ctx: Context, target: Target, spec: TokenRequestSpec) -> None:
        """Raise StatusError 403 for a node that asks for more than its pods have."""
        node = node_name(ctx.user)
        if node is None:
            return
        why, ref = noderestriction.unbound(spec), spec.boundObjectRef
        if not why and ref is not None:
            pod = self._find(Pod, "pods", target.namespace, ref.name)
            why = noderestriction.foreign(node, spec, pod)
        if why:
            raise errors.forbidden_request(target.resource, target.name, why)

    def _bound(self, ref: BoundObjectReference | None, account: ServiceAccount) -> Bound:
        """What the token is bound to; raises StatusError 400, 404 or 409."""
        meta = account.metadata
        bound = Bound(namespace=meta.namespace, serviceaccount=_ref(meta))
        if ref is None:
            return bound
        owner: Node | Pod | Secret
        match ref.apiVersion.rpartition("/")[0], ref.kind:
            case "", "Pod":
                owner = pod = self._find(Pod, "pods", meta.namespace, ref.name)
                if pod.spec.serviceAccountName != meta.name:
                    text = f'cannot bind token for serviceaccount "{meta.name}" to pod running with'
                    raise errors.bad_request(f"{text} different serviceaccount name.")
                bound = replace(bound, pod=_ref(pod.metadata), node=self._node_of(pod))
            case "", "Secret":
                owner = self._find(Secret, "secrets", meta.namespace, ref.name)
                bound = replace(bound, secret=_ref(owner.metadata))
            case "", "Node":
                owner = self._find(Node, "nodes", "", ref.name)
                bound = replace(bound, node=_ref(owner.metadata))
            case group, kind:
                version = ref.apiVersion.rpartition("/")[2]
                text = f"cannot bind token to object of type {group}/{version}, Kind={kind}"
                raise errors.bad_request(text)
        if ref.uid and ref.uid != owner.metadata.uid:
            raise _another(ref.kind, "", ref.name, f"{IN_REFERENCE} ({ref.uid}) {IS_ANOTHER}")
        return bound

    def _node_of(self, pod: Pod) -> Ref | None:
        """The node that a pod is bound to, without its uid when there is no such Node."""
        name = pod.spec.nodeName
        entry = self._pipeline.cache.find("nodes", name)
        uid = codec.decode(entry.data, Node).metadata.uid if entry is not None else ""
        return Ref(name, uid) if name else None


def _describe(meta: ObjectMeta, account: ObjectMeta, now: Time) -> None:
    """Say whose token it is, and when it was issued."""
    meta.name, meta.namespace, meta.uid = account.name, account.namespace, account.uid
    meta.creationTimestamp = now


def _ref(meta: ObjectMeta) -> Ref:
    return Ref(meta.name, meta.uid)


def _check_names(meta: ObjectMeta, target: Target) -> None:
    """Raise StatusError 422 for a request that speaks of another account than its path."""
    name, namespace = target.name, target.namespace
    for field, said, wanted in (
        ("name", meta.name, name),
        ("namespace", meta.namespace, namespace),
    ):
        if said not in ("", wanted):
            text = f"must match the service account {field} if specified"
            raise _invalid(name, errors.invalid(f"metadata.{field}", said, text))


def _check(meta: ObjectMeta, seconds: int, account: ServiceAccount) -> None:
    """Raise StatusError 409 for another account than is meant, 422 for a time out of bounds."""
    uid = account.metadata.uid
    if meta.uid not in ("", uid):
        text = f"the UID in the token request ({meta.uid}) does not match the UID of the service"
        raise _another("TokenRequest", GROUP, account.metadata.name, f"{text} account ({uid})")
    text = ""
    if seconds < MIN_SECONDS:
        text = "may not specify a duration less than 10 minutes"
    elif seconds > MAX_SECONDS:
        text = "may not specify a duration larger than 2^32 seconds"
    if text:
        raise _invalid("", errors.invalid("spec.expirationSeconds", seconds, text))


def _invalid(name: str, finding: FieldError) -> StatusError:
    return errors.invalid_object(GROUP, "TokenRequest", name, [finding])


def _another(kind: str, group: str, name: str, why: str) -> StatusError:
    """409, in which Kubernetes says the kind where others say the resource."""
    resource = Resource(
        group=group, version="v1", kind=kind, plural=kind, singular=kind, namespaced=True
    )
    return errors.conflict(resource, name, why)
