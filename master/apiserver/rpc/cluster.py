"""The Cluster service: every verb on every kind for scripts, over the registry that REST uses.

What is asked and answered is described in protos/cluster_v1.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import grpc.aio

from common.api import errors
from common.api.codec import json as codec
from common.api.codec import protobuf
from common.api.wellknown import MASTERS
from common.limits.unread import Unread
from common.runtime.clock import Clock
from master.apiserver import tables
from master.apiserver.registry.reads import Event
from master.apiserver.registry.registry import Registry
from master.apiserver.request import mediatypes, options
from master.apiserver.request.audit import Call, Caller
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, WatchOptions
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.apiserver.rpc.access import Access, find
from master.apiserver.rpc.status import answering
from master.apiserver.rpc.streams import Requests, Streams
from master.apiserver.rpc.watches import Writer
from master.nodes.hub import NodeHub
from protos import cluster_v1_pb2 as pb
from protos import cluster_v1_pb2_grpc

MEDIA_TYPES = {pb.JSON: mediatypes.JSON, pb.PROTOBUF: mediatypes.PROTOBUF}
LIST_MAX_BYTES = 64 << 20
"""A list is one message here, whole in memory until it is read."""
LISTS_MAX = 2
"""Lists that are made at once."""
ITEMS_A_TURN = 64
PATCHES = {
    pb.PatchRequest.MERGE: mediatypes.MERGE_PATCH,
    pb.PatchRequest.JSON_PATCH: mediatypes.JSON_PATCH,
    pb.PatchRequest.STRATEGIC: mediatypes.STRATEGIC_MERGE_PATCH,
}


class ClusterService(cluster_v1_pb2_grpc.ClusterServicer):
    """Answers scripts: checks who asks for what, calls the registry, encodes the answer."""

    def __init__(
        self,
        registry: Registry,
        access: Access,
        hub: NodeHub,
        *,
        unread: Unread,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._access = access
        self._hub = hub
        self._unread = unread
        self._clock = clock
        self._lists = asyncio.Semaphore(LISTS_MAX)
        self._streams = Streams(registry, access)

    @asynccontextmanager
    async def _one(
        self, context: Any, verb: str, wanted: Any
    ) -> AsyncIterator[tuple[Target, Call]]:
        """A call for an object: (what it is for, the call); raises StatusError."""
        caller = self._access.caller(context)
        resource = find(self._registry.scheme, wanted.resource)
        if not wanted.name and (verb != "create" or wanted.subresource):
            raise errors.bad_request("the request names no object")
        if resource.namespaced and not wanted.namespace:
            raise errors.bad_request("the request names no namespace")
        target = Target(resource, wanted.namespace, wanted.name, wanted.subresource)
        async with self._access.call(caller, verb, target) as call:
            yield target, call

    @asynccontextmanager
    async def _all(
        self, context: Any, verb: str, request: Any
    ) -> AsyncIterator[tuple[Target, Call]]:
        """A call for a collection: (what it is for, the call); raises StatusError."""
        caller = self._access.caller(context)
        target = Target(find(self._registry.scheme, request.resource), request.namespace)
        async with self._access.call(caller, verb, target) as call:
            yield target, call

    async def Get(self, request: pb.GetRequest, context: Any) -> pb.ObjectReply:
        """One object."""
        one = self._one(context, "get", request.object)
        async with answering(context, "Get"), one as (target, _):
            if "get" in self._registry.handler(target).connects:
                raise errors.method_not_allowed("get of a log (call Logs)", target.resource)
            data = await self._registry.get(target, resource_version=request.resource_version)
            return pb.ObjectReply(object=self._encoded(target, data, request.encoding))
        raise AssertionError

    async def List(self, request: pb.ListRequest, context: Any) -> pb.ListReply:
        """A page of objects."""
        collection = self._all(context, "list", request)
        async with answering(context, "List"), collection as (target, _), self._lists:
            return await self._list(target, request)
        raise AssertionError

    async def _list(self, target: Target, request: pb.ListRequest) -> pb.ListReply:
        """A page of objects; raises StatusError."""
        asked = options.for_list(_list_parameters(request))
        page = await self._registry.list(target, asked)
        version, weight = str(page.revision), sum(map(len, page.items))
        if weight > LIST_MAX_BYTES:
            text = f"the list has more than {LIST_MAX_BYTES >> 20} MiB: ask for pages (limit)"
            raise errors.too_large(text)
        if request.encoding == pb.TABLE:
            heavy = self._registry.pipeline.heavy
            items = [await heavy(weight, self._table, target, page.items, version)]
        else:
            items = await self._all_encoded(target, page.items, request.encoding)
        return pb.ListReply(
            items=items,
            resource_version=version,
            remaining=page.remaining,
            **{"continue": page.continue_token},
        )

    async def _all_encoded(
        self, target: Target, objects: Sequence[bytes], encoding: Any
    ) -> list[bytes]:
        """The objects of a list, with turns for others between them."""
        made = []
        for number, data in enumerate(objects):
            made.append(self._encoded(target, data, encoding))
            if number % ITEMS_A_TURN == ITEMS_A_TURN - 1:
                await asyncio.sleep(0)
        return made

    async def Watch(  # type: ignore[override] # it writes its answers, as gRPC allows
        self, request: pb.WatchRequest, context: Any
    ) -> None:
        """Changes, until the caller goes or does not read, history is lost, or the master stops:
        UNAVAILABLE then, for a script must not take that for the end of what it watches."""
        collection = self._all(context, "watch", request)
        async with answering(context, "Watch"), collection as (target, call):
            if request.encoding == pb.TABLE:
                raise errors.not_acceptable(("JSON", "PROTOBUF"))
            asked = WatchOptions(
                label_selector=request.label_selector,
                field_selector=request.field_selector,
                resource_version=request.resource_version,
                allow_bookmarks=True,
                send_initial_events=request.send_initial_events,
            )

            async def send(event: Event) -> None:
                try:
                    await context.write(self._event(target, event, request.encoding))
                except grpc.aio.InternalError as error:
                    raise errors.timeout("the caller has gone") from error

            writer = Writer(send, self._unread, _owner(call.caller))
            batches = self._registry.watch(target, asked, receiver=writer)
            async with aclosing(batches), AsyncExitStack() as starting:
                if asked.begins_with_state:
                    await starting.enter_async_context(self._access.initial_state(call.caller))
                first = await anext(batches)
                await context.send_initial_metadata(())
                with writer:
                    await writer.write(first)
                    await starting.aclose()
                    async for events in batches:
                        await writer.write(events)
            raise errors.stopping()

    def _event(self, target: Target, event: Event, encoding: Any) -> pb.WatchEvent:
        return pb.WatchEvent(
            type=pb.WatchEvent.Type.Value(event.type),
            object=self._encoded(target, event.entry.data, encoding) if event.entry else b"",
            resource_version=str(event.revision),
            initial_end=event.initial_end,
        )

    async def Create(self, request: pb.CreateRequest, context: Any) -> pb.ObjectReply:
        """Create an object, or post to a subresource."""
        one = self._one(context, "create", request.object)
        async with answering(context, "Create"), one as (target, call):
            ctx = _write(call, request.options)
            data = await self._registry.create(ctx, target, _body(request.body, request.encoding))
            call.made(data)
            return self._reply(target, data, request.encoding, ctx)
        raise AssertionError

    async def Update(self, request: pb.UpdateRequest, context: Any) -> pb.ObjectReply:
        """Replace an object."""
        one = self._one(context, "update", request.object)
        async with answering(context, "Update"), one as (target, call):
            ctx = _write(call, request.options)
            data = await self._registry.update(ctx, target, _body(request.body, request.encoding))
            return self._reply(target, data, request.encoding, ctx)
        raise AssertionError

    async def Patch(self, request: pb.PatchRequest, context: Any) -> pb.ObjectReply:
        """Change a part of an object."""
        one = self._one(context, "patch", request.object)
        async with answering(context, "Patch"), one as (target, call):
            ctx = _write(call, request.options)
            patch = Patch(request.body, PATCHES.get(request.type, ""))
            data = await self._registry.patch(ctx, target, patch)
            return self._reply(target, data, request.encoding, ctx)
        raise AssertionError

    async def Delete(self, request: pb.DeleteRequest, context: Any) -> pb.DeleteReply:
        """Delete an object."""
        one = self._one(context, "delete", request.object)
        async with answering(context, "Delete"), one as (target, call):
            ctx = _write(call, request.options)
            data, gone = await self._registry.delete(ctx, target, _delete_options(request))
            encoded = self._encoded(target, data, request.encoding)
            return pb.DeleteReply(object=encoded, gone=gone)
        raise AssertionError

    async def Logs(self, request: pb.LogsRequest, context: Any) -> AsyncIterator[pb.LogsReply]:
        """The log of a container."""
        async with answering(context, "Logs"):
            caller = self._access.caller(context)
            pods = self._registry.scheme.require("", "v1", "pods")
            target = Target(pods, request.namespace, request.pod, "log")
            async with self._access.call(caller, "get", target, is_stream=True):
                stream = await self._registry.connect(target, _log_parameters(request))
                if stream is None:
                    return
                try:
                    async for chunk in stream:
                        yield pb.LogsReply(data=chunk)
                finally:
                    await stream.aclose()

    async def Exec(
        self, request_iterator: Requests, context: Any
    ) -> AsyncIterator[pb.CommandReply]:
        """A command in a container."""
        replies = self._streams.command("exec", request_iterator, context)
        async with answering(context, "Exec"), aclosing(replies):
            async for reply in replies:
                yield reply

    async def Attach(
        self, request_iterator: Requests, context: Any
    ) -> AsyncIterator[pb.CommandReply]:
        """The first process of a container."""
        replies = self._streams.command("attach", request_iterator, context)
        async with answering(context, "Attach"), aclosing(replies):
            async for reply in replies:
                yield reply

    async def PortForward(
        self, request_iterator: Requests, context: Any
    ) -> AsyncIterator[pb.PortForwardReply]:
        """A connection to a port of a pod."""
        replies = self._streams.port(request_iterator, context)
        async with answering(context, "PortForward"), aclosing(replies):
            async for reply in replies:
                yield reply

    async def PushImage(
        self, request_iterator: Requests, context: Any
    ) -> AsyncIterator[pb.PushImageReply]:
        """Images for a node."""
        replies = self._streams.push(request_iterator, context)
        async with answering(context, "PushImage"), aclosing(replies):
            async for reply in replies:
                yield reply

    async def NodeUsage(
        self, request: pb.NodeUsageRequest, context: Any
    ) -> AsyncIterator[pb.NodeUsageReply]:
        """The usage that nodes report."""
        async with answering(context, "NodeUsage"):
            caller = self._access.caller(context)
            metrics = self._registry.scheme.require("metrics.k8s.io", "v1beta1", "nodes")
            verb = "get" if request.node else "list"
            async with self._access.call(caller, verb, Target(metrics, "", request.node)):
                if request.node:
                    nodes = self._registry.scheme.require("", "v1", "nodes")
                    await self._registry.get(Target(nodes, "", request.node))
                async for reply in self._usage(request):
                    yield reply

    async def _usage(self, request: pb.NodeUsageRequest) -> AsyncIterator[pb.NodeUsageReply]:
        """The last usage of each node that is asked for, and each new one unless `once`."""
        sent: dict[str, Any] = {}
        while True:
            reported = self._hub.next_usage()
            for node, usage in sorted(self._hub.usage.items()):
                if request.node in ("", node) and sent.get(node) is not usage:
                    sent[node] = usage
                    yield pb.NodeUsageReply(node=node, usage=usage)
            if request.once:
                return
            await reported.wait()

    def _reply(self, target: Target, data: bytes, encoding: Any, ctx: Context) -> pb.ObjectReply:
        """What a write answers."""
        encoded = self._encoded(target, data, encoding)
        return pb.ObjectReply(object=encoded, warnings=ctx.warnings)

    def _encoded(self, target: Target, data: bytes, encoding: Any) -> bytes:
        """An object in the form that the request asks for."""
        if encoding == pb.TABLE:
            version = codec.decode_plain(data)["metadata"].get("resourceVersion", "")
            return self._table(target, [data], version)
        if encoding == pb.PROTOBUF:
            return protobuf.encode(codec.decode_plain(data))
        if encoding != pb.JSON:
            raise errors.not_acceptable(("JSON", "PROTOBUF", "TABLE"))
        return data

    def _table(self, target: Target, items: Any, version: str) -> bytes:
        """The columns of `kubectl get`."""
        now, shown = self._clock.now(), self._registry.shown(target)
        rows = [tables.row(shown, data, now, "Metadata") for data in items]
        return codec.encode(tables.table(shown, rows, {"resourceVersion": version}))


def _owner(caller: Caller) -> str:
    """Whose account it is on that something is unread: '' for administrators."""
    return "" if MASTERS in caller.by.groups else caller.by.user


def _delete_options(request: pb.DeleteRequest) -> DeleteOptions:
    grace = request.grace_period_seconds
    return DeleteOptions(
        grace_period_seconds=grace if request.HasField("grace_period_seconds") else None,
        uid=request.uid,
        resource_version=request.resource_version,
        propagation_policy=request.propagation_policy,
    )


def _write(call: Call, wanted: pb.WriteOptions) -> Context:
    """The options of a write; raises StatusError 422 for values that do not exist."""
    dry_run = "All" if wanted.dry_run else ""
    parameters = {"dryRun": dry_run, "fieldValidation": wanted.field_validation}
    ctx = options.context(parameters, call.caller.user, call.verb)
    call.annotations = ctx.audit
    return ctx


def _body(data: bytes, encoding: Any) -> Body:
    """An object of a request; raises StatusError 415 for what is no encoding of objects."""
    if encoding not in MEDIA_TYPES:
        raise errors.unsupported_media_type(("JSON", "PROTOBUF"))
    return Body(data, MEDIA_TYPES[encoding])


def _list_parameters(request: pb.ListRequest) -> dict[str, str]:
    """The options of a list in the names and words of REST, which checks them."""
    return {
        "labelSelector": request.label_selector,
        "fieldSelector": request.field_selector,
        "limit": str(request.limit),
        "continue": getattr(request, "continue"),
        "resourceVersion": request.resource_version,
        "resourceVersionMatch": request.resource_version_match,
    }


def _log_parameters(request: pb.LogsRequest) -> dict[str, str]:
    """The options of a log in the names and words of REST, which checks them."""
    parameters = {
        "container": request.container,
        "follow": str(request.follow),
        "previous": str(request.previous),
        "timestamps": str(request.timestamps),
        "sinceTime": request.since_time,
    }
    if request.HasField("tail_lines"):
        parameters["tailLines"] = str(request.tail_lines)
    if request.since_seconds:
        parameters["sinceSeconds"] = str(request.since_seconds)
    if request.limit_bytes:
        parameters["limitBytes"] = str(request.limit_bytes)
    return parameters
