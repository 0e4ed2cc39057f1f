"""Resource requests: decodes bodies and options, asks the registry, renders answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from aiohttp import web

from common.api import errors
from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.scheme import Scheme
from common.api.wellknown import MASTERS
from common.limits.budget import BudgetExceeded, MemoryBudget
from common.limits.unread import Holding, Unread
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from common.security.identity import Identity
from master.apiserver import tables
from master.apiserver.registry.handler import ObjectPage, Shown
from master.apiserver.registry.registry import Registry
from master.apiserver.request import bodies, mediatypes, options
from master.apiserver.request.audit import Call
from master.apiserver.request.chain import Chain
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, ListOptions
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.apiserver.rest import negotiate, streams, warnings, watches
from master.apiserver.rest.connections import held_for
from master.apiserver.rest.lists import SMALL_BYTES, Asked, Lists

BODY_MAX_BYTES = 3 << 20
BODY_SECONDS = 60.0
SMALL_BODY_BYTES = 32 << 10
BODIES_MAX_BYTES = 64 << 20
"""All bodies together that are being read or worked on."""
HISTORY_READS_MAX = 2
"""Lists of a past state that are read from the store at once."""
WAIT_SECONDS = 10.0
_OBJECT_FORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


class Resources:
    """Answers requests for resources and their subresources."""

    def __init__(self, registry: Registry, chain: Chain, *, clock: Clock, unread: Unread) -> None:
        self.scheme: Scheme = registry.scheme
        self.registry = registry
        self._chain = chain
        self._clock = clock
        self._unread = unread
        self._offload = Offload(threads=2, name="rest")
        self._lists = Lists(self._offload)
        self._history = asyncio.Semaphore(HISTORY_READS_MAX)
        self._bodies = MemoryBudget(BODIES_MAX_BYTES)
        self._held: Counter[str] = Counter()

    async def answer(
        self,
        request: web.Request,
        call: Call,
        target: Target,
        parameters: Mapping[str, str],
    ) -> web.StreamResponse:
        """Answer one authorized request."""
        user = call.caller.user
        match call.verb, target.subresource:
            case "watch", _:
                state = self._chain.initial_state(call.caller)
                return await watches.answer(
                    request, target, parameters, self.registry, self._clock, self._unread, state
                )
            case verb, _ if verb in self.registry.handler(target).connects:
                return await streams.answer(request, target, parameters, self.registry)
            case "get", _:
                response = await self._get(request, target, parameters)
            case "list", _:
                return await self._list(request, target, parameters)
            case "deletecollection", _:
                ctx = options.context(parameters, user, call.verb)
                return await self._delete_collection(request, target, parameters, ctx)
            case _:
                ctx = options.context(parameters, user, call.verb)
                call.annotations = ctx.audit
                async with self._room(request, user):
                    body = await _read(request)
                    response = await self._write(request, call, target, parameters, ctx, body)
                warnings.add(response, ctx.warnings)
        warnings.add(response, warnings.deprecation(target.resource))
        return response

    @asynccontextmanager
    async def _room(self, request: web.Request, user: Identity) -> AsyncIterator[None]:
        """Memory for a body and for what is made of it; raises StatusError 429 without any.

        Whoever sends slowly holds it for long: one user may have an eighth, administrators all.
        Small ones are not counted: the number of connections bounds them.
        """
        declared = request.content_length
        if declared is not None and declared <= SMALL_BODY_BYTES:
            yield
            return
        size = BODY_MAX_BYTES if declared is None else min(declared, BODY_MAX_BYTES)
        share = BODIES_MAX_BYTES if MASTERS in user.groups else BODIES_MAX_BYTES // 8
        if self._held[user.user] + size > share:
            raise errors.too_many_requests("too many bodies at once", retry_after_seconds=1)
        self._held[user.user] += size
        try:
            async with self._bodies.hold(size, timeout_seconds=WAIT_SECONDS):
                yield
        except BudgetExceeded as error:
            raise errors.too_many_requests(str(error), retry_after_seconds=1) from error
        finally:
            self._held[user.user] -= size
            if not self._held[user.user]:
                del self._held[user.user]

    async def _get(
        self, request: web.Request, target: Target, parameters: Mapping[str, str]
    ) -> web.Response:
        form = negotiate.accepted(request.headers.get("Accept", ""), _OBJECT_FORMS)
        data = await self.registry.get(
            target, resource_version=parameters.get("resourceVersion", "")
        )
        return await self._object(target, data, form, parameters)

    async def _object(
        self,
        target: Target,
        data: bytes,
        form: negotiate.Accepted,
        parameters: Mapping[str, str],
        status: int = 200,
    ) -> web.Response:
        """One object in the form that the client accepts."""
        weight = len(data) * (10 if form.media_type == mediatypes.YAML else 1)
        body, kind = await self.registry.pipeline.heavy(
            weight, self._rendered, self.registry.shown(target), data, form, parameters
        )
        return web.Response(status=status, body=body, content_type=kind)

    def _rendered(
        self,
        shown: Shown,
        data: bytes,
        form: negotiate.Accepted,
        parameters: Mapping[str, str],
    ) -> tuple[bytes, str]:
        """(body, Content-Type) of one object."""
        if form.kind == "Table":
            plain = codec.decode_plain(data)
            metadata = {"resourceVersion": plain["metadata"].get("resourceVersion", "")}
            include = parameters.get("includeObject", "Metadata")
            row = tables.row(shown, data, self._clock.now(), include)
            data = codec.encode(tables.table(shown, [row], metadata))
        elif form.kind:
            data = codec.encode(tables.partial(codec.decode_plain(data)))
        elif form.media_type != mediatypes.JSON:
            return negotiate.encode_answer(codec.decode_plain(data), form)
        return data, mediatypes.JSON

    async def _list(
        self, request: web.Request, target: Target, parameters: Mapping[str, str]
    ) -> web.StreamResponse:
        asked = self._asked(request, target, parameters)
        chosen = options.for_list(parameters)
        with held_for(request, self._unread) as holding:
            page = await self._found(target, chosen, holding)
            return await self._lists.answer(request, asked, page, holding)

    def _asked(self, request: web.Request, target: Target, parameters: Mapping[str, str]) -> Asked:
        """How the list that is asked for is to be; raises StatusError 406."""
        form = negotiate.accepted(request.headers.get("Accept", ""), _OBJECT_FORMS)
        include = parameters.get("includeObject", "Metadata")
        shown = self.registry.shown(target)
        return Asked(target.resource, shown, form, include, self._clock.now())

    async def _found(self, target: Target, chosen: ListOptions, holding: Holding) -> ObjectPage:
        """The objects of a list, which are held from now on; raises StatusError 429.

        What is read from the store's history is in memory for this list alone.
        """
        async with self._history if chosen.of_history else nullcontext():
            page = await self.registry.list(target, chosen)
            if sum(map(len, page.items)) >= SMALL_BYTES:
                try:
                    await holding.fit(page.items, timeout_seconds=WAIT_SECONDS)
                except BudgetExceeded as error:
                    raise errors.too_many_requests(str(error), retry_after_seconds=1) from error
        return page

    async def _write(
        self,
        request: web.Request,
        call: Call,
        target: Target,
        parameters: Mapping[str, str],
        ctx: Context,
        body: bytes,
    ) -> web.Response:
        """Create, update, patch, delete."""
        forms = () if self.registry.handler(target).is_action else _OBJECT_FORMS
        form = negotiate.accepted(request.headers.get("Accept", ""), forms)
        kind = request.headers.get("Content-Type", "")
        match call.verb:
            case "create":
                data = await self.registry.create(ctx, target, bodies.Body(body, kind))
                call.made(data)
                return await self._object(target, data, form, parameters, 201)
            case "update":
                data = await self.registry.update(ctx, target, bodies.Body(body, kind))
                return await self._object(target, data, form, parameters)
            case "patch":
                patch = Patch(body, bodies.Body(body, kind).media_type)
                data = await self.registry.patch(ctx, target, patch)
                return await self._object(target, data, form, parameters)
        asked = options.for_delete(body, kind, parameters, ctx)
        data, gone = await self.registry.delete(ctx, target, asked)
        if gone and not self.registry.pipeline.strategy(target.resource).delete_answers_object:
            return _json(_deleted(target.resource, codec.decode_plain(data)))
        return await self._object(target, data, form, parameters)

    async def _delete_collection(
        self,
        request: web.Request,
        target: Target,
        parameters: Mapping[str, str],
        ctx: Context,
    ) -> web.StreamResponse:
        """Delete every object that the selectors choose; answers the list of them."""
        async with self._room(request, ctx.user):
            body = await _read(request)
        kind = request.headers.get("Content-Type", "")
        wanted = options.for_delete(body, kind, parameters, ctx)
        asked = self._asked(request, target, parameters)
        chosen = options.for_list(parameters)
        with held_for(request, self._unread) as holding:
            page = await self.registry.list(target, chosen)
            for data in page.items:
                await self._delete_one(target.resource, data, wanted, ctx)
            holding.add(page.items)
            asked = asked._replace(warnings=tuple(ctx.warnings))
            return await self._lists.answer(request, asked, page, holding)

    async def _delete_one(
        self, resource: Resource, data: bytes, wanted: DeleteOptions, ctx: Context
    ) -> None:
        """Delete an object of a list, unless that has been done meanwhile."""
        meta = codec.decode_plain(data)["metadata"]
        try:
            await self.registry.delete(
                ctx, Target(resource, meta.get("namespace", ""), meta["name"]), wanted
            )
        except errors.StatusError as error:
            if error.code != 404:
                raise


async def _read(request: web.Request) -> bytes:
    """The body; raises StatusError 504 when it does not come."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError as error:
        raise errors.timeout("the body of the request did not come in time") from error


def _deleted(resource: Resource, plain: dict[str, Any]) -> dict[str, Any]:
    """The Status of an object that is gone."""
    meta = plain["metadata"]
    details = {"name": meta["name"], "kind": resource.plural, "uid": meta.get("uid", "")}
    if resource.group:
        details["group"] = resource.group
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def _json(plain: Any) -> web.Response:
    return web.Response(body=codec.encode(plain), content_type=mediatypes.JSON)
