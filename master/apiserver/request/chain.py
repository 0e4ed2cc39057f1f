"""The chain that every call passes before the registry, whatever door it comes through.

Who calls is established, then the flow is limited, then authorization asked, then the verb looked
up; and what came of it goes to the audit log. What follows (decode, default, admit, validate,
store) is the registry's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

from common.api import errors
from common.api.errors import StatusError
from common.runtime.clock import Clock
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authenticator import Authenticator
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.impersonation import impersonated
from master.apiserver.auth.live import LiveCalls
from master.apiserver.request.audit import NOBODY, AuditLog, Call, Caller
from master.apiserver.request.flow import FlowControl
from master.apiserver.request.target import Target

VerbCheck = Callable[[str, Target], None]
"""Raises StatusError 404 or 405 for what a target does not offer."""


class Chain:
    """One for all doors of a master."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        check_verb: VerbCheck,
        audit: AuditLog,
        live: LiveCalls,
        backlog: Callable[[], int],
        clock: Clock,
    ) -> None:
        """`backlog` says how many revisions the watch cache is behind."""
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._check_verb = check_verb
        self._audit = audit
        self._live = live
        self._clock = clock
        self._flow = FlowControl(backlog, clock)

    def authenticate(
        self, certificate: bytes | None, authorization: str, source: str, *, path: str = ""
    ) -> Identity:
        """Who has sent a request from an address; raises StatusError 401 or 429.

        `certificate` is the verified client certificate (DER), `authorization` the header.
        """
        identity = NOBODY
        try:
            identity = self._authenticator.authenticate(certificate, authorization, source)
            self._authorizer.check_certificate(identity)
        except StatusError as error:
            self._audit.record(
                self._begin(Caller(identity, identity, source), "", path=path), error
            )
            raise
        return identity

    def recognize(self, certificate: bytes | None, authorization: str) -> Identity | None:
        """The same without consequences: None for a stranger."""
        return self._authenticator.recognize(certificate, authorization)

    def act_as(self, caller: Caller, headers: Mapping[str, str], groups: Sequence[str]) -> Caller:
        """The caller who acts as whom the headers name; raises StatusError 400 or 403.

        `groups` are the values of Impersonate-Group.
        """
        try:
            user = impersonated(self._authorizer, caller.by, headers, groups)
        except StatusError as error:
            self._audit.record(self._begin(caller, "impersonate"), error)
            raise
        return caller._replace(user=user)

    def refused(self, caller: Caller, path: str, error: StatusError) -> None:
        """A door has refused a call by a rule of its own."""
        self._audit.record(self._begin(caller, "", path=path), error)

    @asynccontextmanager
    async def call(
        self,
        caller: Caller,
        verb: str,
        target: Target,
        *,
        is_part: bool = False,
        is_stream: bool = False,
    ) -> AsyncIterator[Call]:
        """The block answers the call. Raises StatusError 401, 403, 404, 405 or 429 before it.

        A stream may last: it holds up no other call of its user, and ends when the right does.
        A call that `is_part` of what its caller does is not ended when the caller's credentials
        count no longer: who does the whole looks after that.
        """
        call = self._begin(caller, verb, target)
        wanted = target.attributes(verb)
        async with self._passing(call, wanted, is_part=is_part, is_stream=is_stream):
            self._check_verb(verb, target)
            yield call

    def initial_state(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        """The block makes the state that a watch begins with. Raises StatusError 429."""
        return self._flow.initial_seat(caller.user)

    @asynccontextmanager
    async def call_path(self, caller: Caller, verb: str, path: str) -> AsyncIterator[Call]:
        """The same for a path that is no resource."""
        call = self._begin(caller, verb, path=path)
        async with self._passing(call, Attributes(verb, path=path)):
            yield call

    def _begin(
        self, caller: Caller, verb: str, target: Target | None = None, path: str = ""
    ) -> Call:
        return Call(caller, verb, target, path, self._clock.now())

    @asynccontextmanager
    async def _passing(
        self,
        call: Call,
        wanted: Attributes,
        *,
        is_part: bool = False,
        is_stream: bool = False,
    ) -> AsyncIterator[None]:
        caller = call.caller
        stage = "stream" if is_stream else call.verb
        check = partial(self._authorizer.authorize, caller.user, wanted) if is_stream else None
        end = self._live.begin(NOBODY if is_part else caller.by, check)
        try:
            # Parts of this master have none to wait for: their number is what it is.
            async with self._flow.seat(caller.user, stage) if caller.source else nullcontext():
                self._authorizer.authorize(caller.user, wanted)
                if is_stream:
                    self._audit.started(call)
                yield
        except StatusError as error:
            self._audit.record(call, error)
            raise
        except BaseException:
            # Of a write that was under way nobody knows what came of it; a stream has no other end
            # than that somebody leaves.
            unknown = errors.timeout("the call ended before it was answered")
            self._audit.record(call, None if is_stream else unknown)
            raise
        else:
            self._audit.record(call)
        finally:
            end()
