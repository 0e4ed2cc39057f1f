"""Authentication: a client certificate, the admin token, a token of a service account, or a join
token. Nothing is anonymous."""

from __future__ import annotations

import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from common.api import errors
from common.api.wellknown import AUTHENTICATED, BOOTSTRAPPERS, MASTERS
from common.runtime.clock import Clock
from common.security.ca import CertificateError
from common.security.identity import Identity, identity_from_der

log = logging.getLogger(__name__)
FAILURES_MAX = 30
TOKEN_MAX = 4096
FAILURES_WINDOW_SECONDS = 60.0
SOURCES_MAX = 4096

JoinTokenCheck = Callable[[str], str | None]
"""Takes `id.secret`, answers the id of a token that is valid now, else None."""
AccountTokenCheck = Callable[[str], Identity | None]
"""Takes a service account's token, answers who that is if it is valid now, else None."""


class Authenticator:
    """Finds out who is asking; too many wrong tokens from one address are answered 429.

    A right token is never refused for the wrong ones of others at the same address.
    """

    def __init__(
        self,
        *,
        admin_token: str,
        account_token: AccountTokenCheck,
        join_token: JoinTokenCheck,
        clock: Clock,
    ) -> None:
        self._admin_token = admin_token.encode()
        self._account_token = account_token
        self._join_token = join_token
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def authenticate(self, certificate: bytes | None, authorization: str, source: str) -> Identity:
        """The identity behind a request; raises StatusError 401 or 429.

        `certificate` is the verified client certificate (DER), `authorization` the header,
        `source` the address of the client. A certificate wins over a token.
        """
        identity = self.recognize(certificate, authorization)
        if identity is None:
            if certificate is None and _token(authorization):
                self._count_failure(source)
                self._limit_failures(source)
            raise errors.unauthorized()
        return identity

    def recognize(self, certificate: bytes | None, authorization: str) -> Identity | None:
        """The same identity, or None for a stranger; nobody is counted as a guesser for it."""
        if certificate is None:
            identity = self._of_token(_token(authorization))
        else:
            identity = _of_certificate(certificate)
        return identity and authenticated(identity)

    def _of_token(self, token: str) -> Identity | None:
        if not token:
            return None
        if hmac.compare_digest(token.encode("utf-8", "replace"), self._admin_token):
            return Identity("admin", (MASTERS,))
        account = self._account_token(token)
        if account is not None:
            return account
        token_id = self._join_token(token)
        if token_id is None:
            return None
        return Identity(f"system:bootstrap:{token_id}", (BOOTSTRAPPERS,))

    def _limit_failures(self, source: str) -> None:
        count, since = self._failures.get(source, (0, 0.0))
        left = since + FAILURES_WINDOW_SECONDS - self._clock.monotonic()
        if count >= FAILURES_MAX and left > 0:
            raise errors.too_many_requests(
                "too many failed logins from this address", retry_after_seconds=int(left) + 1
            )

    def _count_failure(self, source: str) -> None:
        now = self._clock.monotonic()
        count, since = self._failures.pop(source, (0, now))
        if now - since > FAILURES_WINDOW_SECONDS:
            count, since = 0, now
        self._failures[source] = (count + 1, since)
        if len(self._failures) > SOURCES_MAX:
            self._failures.popitem(last=False)


def _token(authorization: str) -> str:
    """The bearer token of a header; '' without one."""
    scheme, _, token = authorization.partition(" ")
    return token.strip()[:TOKEN_MAX] if scheme.lower() == "bearer" else ""


def _of_certificate(certificate: bytes) -> Identity | None:
    try:
        return identity_from_der(certificate)
    except CertificateError:
        return None


def authenticated(identity: Identity) -> Identity:
    """The same, as a member of the group of all who are known."""
    return replace(identity, groups=(*identity.groups, AUTHENTICATED))
