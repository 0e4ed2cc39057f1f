"""Who calls, and which kind is meant: what every method of the Cluster service asks first."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import unquote

from common.api import errors
from common.api.resource import Resource
from common.api.scheme import Scheme
from common.api.wellknown import MASTERS
from master.apiserver.request.audit import Call, Caller
from master.apiserver.request.chain import Chain
from master.apiserver.request.target import Target, check_segment
from master.apiserver.rpc.calllimits import Account
from protos.cluster_v1_pb2 import ResourceName


class Access:
    """The rules of REST for gRPC calls: the same chain."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def caller(self, context: Any) -> Caller:
        """Who calls, by a client certificate or a bearer token; raises StatusError 401 or 429."""
        address = source(context.peer())
        identity = self._chain.authenticate(*_credentials(context), address)
        return Caller(identity, identity, address, _metadata(context).get("user-agent", ""))

    def account(self, context: Any) -> Account:
        """Whose account a call goes to, before anything of it is read."""
        identity = self._chain.recognize(*_credentials(context))
        if identity is None:
            return Account(source(context.peer()), known=False, unbounded=False)
        return Account(identity.user, known=True, unbounded=MASTERS in identity.groups)

    @asynccontextmanager
    async def call(
        self, caller: Caller, verb: str, target: Target, *, is_stream: bool = False
    ) -> AsyncIterator[Call]:
        """The block answers the call; raises StatusError 400, 401, 403, 404, 405 or 429."""
        for text in target[1:]:
            check_segment(text)
        if target.namespace and not target.resource.namespaced:
            raise errors.unknown_path()
        async with self._chain.call(caller, verb, target, is_stream=is_stream) as call:
            yield call

    def initial_state(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        """The block makes the state that a watch begins with; raises StatusError 429."""
        return self._chain.initial_state(caller)

    def call_path(self, caller: Caller, verb: str, path: str) -> AbstractAsyncContextManager[Call]:
        """The same for a path that is no resource."""
        return self._chain.call_path(caller, verb, path)


def _credentials(context: Any) -> tuple[bytes | None, str]:
    """(certificate as DER, Authorization header) of a call."""
    pem = context.auth_context().get("x509_pem_cert", [b""])[0]
    certificate = ssl.PEM_cert_to_DER_cert(pem.decode("ascii")) if pem else None
    return certificate, _metadata(context).get("authorization", "")


def _metadata(context: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in context.invocation_metadata() or ()}


def source(peer: str) -> str:
    """The address in gRPC's name of a peer, as REST has it: `10.0.0.1` of `ipv4:10.0.0.1:5000`."""
    host = unquote(peer).partition(":")[2].rpartition(":")[0]
    return host.strip("[]").removeprefix("::ffff:")


def find(scheme: Scheme, wanted: ResourceName) -> Resource:
    """The resource that a request names; raises StatusError 400 or 404."""
    if not wanted.plural and not wanted.kind:
        raise errors.bad_request("the request names no resource: set plural or kind")
    for resource in scheme.resources():
        if _fits(resource, wanted):
            return resource
    if wanted.plural and not (wanted.group or wanted.version or wanted.kind):
        resources = scheme.find(wanted.plural)
        if resources is not None:
            return resources
    raise errors.unknown_path()


def _fits(resource: Resource, wanted: ResourceName) -> bool:
    """Whether a resource has every name that is set; with a version the group counts as set."""
    strict = bool(wanted.group or wanted.version)
    return (
        wanted.plural in ("", resource.plural)
        and wanted.kind in ("", resource.kind)
        and wanted.version in ("", resource.version)
        and (not strict or wanted.group == resource.group)
    )
