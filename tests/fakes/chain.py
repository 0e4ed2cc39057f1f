"""A chain of the API server, and what nodes report through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common.runtime.clock import Clock
from common.runtime.rng import SystemRng
from common.security.identity import Identity
from master.apiserver.auth.authenticator import Authenticator
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.live import LiveCalls
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.audit import AuditLog, Caller
from master.apiserver.request.chain import Chain
from master.nodes.reports import Reports
from tests.fakes.clock import FakeClock
from tests.fakes.roles import authorizer

TOKEN = "admin-token"


def chain(
    rights: Authorizer | None = None,
    *,
    log: Path | None = None,
    clock: Clock | None = None,
    backlog: Callable[[], int] = lambda: 0,
    live: LiveCalls | None = None,
) -> Chain:
    """One that serves every verb; without `rights` only administrators have any."""
    clock = clock or FakeClock()
    return Chain(
        authenticator=Authenticator(
            admin_token=TOKEN,
            account_token=lambda _: None,
            join_token=lambda _: None,
            clock=clock,
        ),
        authorizer=rights or authorizer(),
        check_verb=lambda verb, target: None,
        audit=AuditLog(log, clock, SystemRng().uuid),
        live=live or LiveCalls(lambda _: "", clock),
        backlog=backlog,
        clock=clock,
    )


def reports(pipeline: Pipeline) -> Reports:
    """What nodes report, with the rights that the pods of the pipeline's cache give them."""
    return Reports(chain(authorizer(cache=pipeline.cache)), pipeline)


def calling(identity: Identity, source: str = "10.0.0.1") -> Caller:
    """Somebody who calls from an address."""
    return Caller(identity, identity, source)
