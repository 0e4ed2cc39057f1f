"""The HTTPS server: one catch-all route, authentication, errors as Status; denials are logged.

aiohttp because it gives the client's certificate to the application and the raw connection to
streams (docs/decisions).
"""

from __future__ import annotations

import logging
import ssl
from typing import Any

from aiohttp import web

from common.api import errors
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.limits.ratelimitedlog import RateLimitedLog
from common.limits.unread import Unread
from common.runtime.clock import Clock
from master.apiserver.request import mediatypes
from master.apiserver.request.audit import Caller
from master.apiserver.request.chain import Chain
from master.apiserver.rest import outflow, requestinfo
from master.apiserver.rest.connections import Connection, ConnectionLimiter, Site, held_for
from master.apiserver.rest.paths import ROTATION, Paths
from master.apiserver.rest.resources import BODY_MAX_BYTES, Resources

log = logging.getLogger(__name__)
OFFERED_ENCODINGS = ("identity",)
PUBLIC = frozenset({"livez", "readyz", "version", "cacerts"})


class RestServer:
    """Answers every request of the Kubernetes REST API."""

    def __init__(
        self,
        *,
        chain: Chain,
        paths: Paths,
        resources: Resources,
        clock: Clock,
        unread: Unread,
    ) -> None:
        self._chain = chain
        self._paths = paths
        self._resources = resources
        self._unread = unread
        self.log = RateLimitedLog(log, clock, per_second=5.0, burst=100.0)
        """For what callers can cause who were not let in."""

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, and log it for those who want to know all of them."""
        response = await self._respond(request)
        if log.isEnabledFor(logging.DEBUG):
            extra = {"object": request.path, "verb": request.method, "code": response.status}
            log.debug("answered", extra=extra)
        return response

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; whatever goes wrong becomes a Status."""
        try:
            response = await self._answer(request)
            with held_for(request, self._unread) as holding:
                return await outflow.paced(request, response, holding)
        except StatusError as error:
            if error.code in (401, 403):
                self._log_denial(request, error)
            return status_response(error)
        except web.HTTPRequestEntityTooLarge:
            text = f"Request entity too large: limit is {BODY_MAX_BYTES}"
            return status_response(errors.too_large(text))
        except (ConnectionResetError, web.HTTPException):
            raise
        except UnicodeDecodeError:
            return status_response(errors.bad_request("the path is not UTF-8"))
        except Exception:
            log.exception(
                "a request failed", extra={"object": request.path, "verb": request.method}
            )
            return status_response(errors.internal("see the log of wherry-master"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw_path, _, raw_query = request.raw_path.partition("?")
        raw_path, beyond = requestinfo.proxied(raw_path)
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding != "identity" and beyond is None:
            # Nothing is unpacked: a small body could become a large one. Kubernetes takes none.
            raise errors.unsupported_media_type(OFFERED_ENCODINGS)
        parts = requestinfo.segments(raw_path)
        parameters = requestinfo.query(raw_query)
        if parts[0] in PUBLIC and request.method in ("GET", "HEAD"):
            return await self._paths.public(request, parts, parameters)
        caller = self._caller(request, raw_path)
        info = requestinfo.parse(request.method, parts, parameters, self._resources.scheme)
        if info is None:
            verb = "rotate" if parts[0] == ROTATION else request.method.lower()
            async with self._chain.call_path(caller, verb, raw_path):
                return await self._paths.answer(request, parts)
        stream = self._resources.registry.connects_as(info.verb, info.target)
        async with self._chain.call(
            caller, stream or info.verb, info.target, is_stream=bool(stream)
        ) as call:
            return await self._resources.answer(request, call, info.target, parameters)

    def _log_denial(self, request: web.Request, error: StatusError) -> None:
        """Who from where wanted what. Never the credentials."""
        self.log.warning(
            "request denied",
            object=request.path,
            verb=request.method,
            source=request.remote,
            cause=error.message,
        )

    def _caller(self, request: web.Request, path: str) -> Caller:
        """Who sends a request; raises StatusError 400, 401, 403 or 429."""
        headers, source = request.headers, request.remote or ""
        identity = self._chain.authenticate(
            peer_certificate(request), headers.get("Authorization", ""), source, path=path
        )
        if isinstance(request.protocol, Connection):
            request.protocol.belongs_to(identity)
        caller = Caller(identity, identity, source, headers.get("User-Agent", ""))
        return self._chain.act_as(caller, headers, headers.getall("Impersonate-Group", []))


def peer_certificate(request: web.Request) -> bytes | None:
    """The verified client certificate (DER) of the connection, or None."""
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    return tls.getpeercert(binary_form=True) if tls is not None else None


def status_response(error: StatusError) -> web.Response:
    """A Status as an HTTP answer."""
    headers = {}
    seconds = (error.details or {}).get("retryAfterSeconds")
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    if error.code == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="wherry"'
    return web.Response(
        status=error.code,
        body=codec.encode(error.status()),
        headers=headers,
        content_type=mediatypes.JSON,
    )


class ChangingContext(ssl.SSLContext):
    """A context of servers whose new connections have the one that was set last."""

    def use(self, context: ssl.SSLContext) -> None:
        """From the next connection on."""
        self._current = context

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """As asyncio begins a connection."""
        return self._current.wrap_bio(*arguments, **named)


def tls_context(first: ssl.SSLContext) -> ChangingContext:
    """A context that begins as `first`."""
    context = ChangingContext(ssl.PROTOCOL_TLS_SERVER)
    context.use(first)
    return context


async def serve(
    server: RestServer, context: ssl.SSLContext, host: str, port: int, *, descriptors: int
) -> web.AppRunner:
    """Start listening; the caller cleans the runner up. Connections leave some of the process's
    `descriptors` to others."""
    runner = web.AppRunner(
        server.application(), handle_signals=False, handler_cancellation=True, shutdown_timeout=2.0
    )
    await runner.setup()
    limiter = ConnectionLimiter(server.log, descriptors=descriptors)
    await Site(runner, host, port, context=context, limiter=limiter).start()
    return runner
