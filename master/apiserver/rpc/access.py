"""Who calls, and which kind is meant: what every method of the Cluster service asks first."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import unquote

from common.api import errors
from common.api.resource import Resource
from common.api.scheme import Scheme
from common.security.identity import Identity
from master.apiserver.auth.authenticator import MASTERS, Authenticator
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.live import LiveCalls
from master.apiserver.request.target import Target, check_segment
from master.apiserver.rpc.door import Caller
from protos.cluster_v1_pb2 import ResourceName


class Access:
    """The rules of REST for gRPC calls: the same authenticator, the same authorizer."""

    def __init__(
        self, authenticator: Authenticator, authorizer: Authorizer, live: LiveCalls
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._live = live

    def caller(self, context: Any) -> Identity:
        """The identity of a client certificate or of a bearer token; raises StatusError 401.

        The call ends when that counts no longer.
        """
        identity = self._authenticator.authenticate(*_credentials(context), source(context.peer()))
        end = self._live.begin(identity)
        context.add_done_callback(lambda _: end())
        return identity

    def account(self, context: Any) -> Caller:
        """Whose account a call goes to, before anything of it is read."""
        identity = self._authenticator.recognize(*_credentials(context))
        if identity is None:
            return Caller(source(context.peer()), known=False, unbounded=False)
        return Caller(identity.user, known=True, unbounded=MASTERS in identity.groups)

    def check(self, user: Identity, verb: str, target: Target) -> None:
        """Return when the caller may do this; raises StatusError 400, 403 or 404."""
        for text in target[1:]:
            check_segment(text)
        if target.namespace and not target.resource.namespaced:
            raise errors.unknown_path()
        self._authorizer.authorize(user, target.attributes(verb))


def _credentials(context: Any) -> tuple[bytes | None, str]:
    """(certificate as DER, Authorization header) of a call."""
    pem = context.auth_context().get("x509_pem_cert", [b""])[0]
    metadata = dict(context.invocation_metadata() or ())
    certificate = ssl.PEM_cert_to_DER_cert(pem.decode("ascii")) if pem else None
    return certificate, str(metadata.get("authorization", ""))


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
        found = scheme.find(wanted.plural)
        if found is not None:
            return found
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
