"""ApiClient over gRPC: for scripts, operators and the `wherry` command.

Where to, and with which credentials: `settings` reads the environment and a kubeconfig.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import grpc
import grpc.aio

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.client.api import ObjectList, WatchEvent
from common.client.conversations import ImagePush, PodConnection, RemoteCommand
from common.client.grpcerrors import translated
from common.client.https import ConnectionFailed, chosen
from common.runtime.reasons import reason
from common.security.keypair import KeyPair
from protos import cluster_v1_pb2 as pb
from protos.cluster_v1_pb2_grpc import ClusterStub

log = logging.getLogger(__name__)

ANSWER_MAX_BYTES = 256 << 20
KEEPALIVE_MS = 20_000
# An operator is back soon after its master; gRPC's own limit is two minutes.
RECONNECT_MAX_MS = 5_000
# Where a kubeconfig does not say, the ports of gRPC follow the one of HTTPS: 6443, then 6444 for
# certificates and 6445 for tokens.
CERTIFICATE_PORT_AFTER, TOKEN_PORT_AFTER = 1, 2


class Settings(NamedTuple):
    """Where a master is, whom to trust, and who we are: a certificate, or else a token."""

    target: str
    ca_pem: bytes
    certificate: KeyPair | None = None
    token: str = ""


def settings(environment: Mapping[str, str], kubeconfig: str = "") -> Settings:
    """What the environment says; raises ConnectionFailed when it is not enough.

    WHERRY_URL, WHERRY_TOKEN and WHERRY_CA (a file) are enough together. Without a token the
    kubeconfig counts: the one given, $KUBECONFIG, or the administrator's on a master.
    """
    url, token = environment.get("WHERRY_URL", ""), environment.get("WHERRY_TOKEN", "")
    if url and token and not kubeconfig:
        file = environment.get("WHERRY_CA", "")
        if not file:
            raise ConnectionFailed("WHERRY_TOKEN is never sent to a server without WHERRY_CA")
        try:
            return Settings(_target(url), Path(file).read_bytes(), None, token)
        except OSError as error:
            text = f"cannot read WHERRY_CA, {file}: {reason(error)}"
            raise ConnectionFailed(text) from error
    config = chosen(environment, kubeconfig)
    after = CERTIFICATE_PORT_AFTER if config.certificate else TOKEN_PORT_AFTER
    target = _target(url) if url else _target(config.server, after, config.grpc_port)
    return Settings(target, config.ca_pem, config.certificate, config.token)


def _target(url: str, ports_after: int = 0, known_port: int | None = None) -> str:
    """host:port of a URL; the port is another one, if it is known or so many after."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:  # a port that is no number, an address that is none
        scheme, host, port = "", None, None
    if scheme != "https" or not host or not port:
        raise ConnectionFailed(f"the server must be https://HOST:PORT, not {url}")
    port = known_port or port + ports_after
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def channel(wanted: Settings) -> grpc.aio.Channel:
    """A channel with TLS; calls carry the token."""
    pair = wanted.certificate
    credentials = grpc.ssl_channel_credentials(
        wanted.ca_pem,
        pair.key_pem if pair else None,
        pair.certificate_pem if pair else None,
    )
    options = [
        ("grpc.max_receive_message_length", ANSWER_MAX_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
        ("grpc.enable_http_proxy", 0),
    ]
    opened = grpc.aio.secure_channel(wanted.target, credentials, options)
    return opened if pair or not wanted.token else _BearerChannel(opened, wanted.token)


class _BearerChannel(grpc.aio.Channel):
    """A channel whose calls carry a bearer token as metadata.

    Not by gRPC's call credentials: those are an object of Python, which gRPC lets go in a thread of
    its own, for which it needs the interpreter's lock. Whoever closes the channel at that moment
    holds that lock and waits for the thread: one call of `wherry get` in three thousand printed its
    answer and never ended (grpcio 1.85; https://github.com/grpc/grpc/pull/42247). A call that
    brings an `authorization` of its own keeps it.
    """

    def __init__(self, opened: grpc.aio.Channel, token: str) -> None:
        self._opened = opened
        self._token = ("authorization", f"Bearer {token}")

    def unary_unary(self, *method: Any, **options: Any) -> Any:
        """One request, one answer."""
        return partial(self._call, self._opened.unary_unary(*method, **options))

    def unary_stream(self, *method: Any, **options: Any) -> Any:
        """One request, a stream of answers."""
        return partial(self._call, self._opened.unary_stream(*method, **options))

    def stream_unary(self, *method: Any, **options: Any) -> Any:
        """A stream of requests, one answer."""
        return partial(self._call, self._opened.stream_unary(*method, **options))

    def stream_stream(self, *method: Any, **options: Any) -> Any:
        """Streams both ways."""
        return partial(self._call, self._opened.stream_stream(*method, **options))

    def _call(self, invoke: Any, *request: Any, metadata: Any = None, **options: Any) -> Any:
        own = tuple(metadata or ())
        named = any(key == self._token[0] for key, _ in own)
        return invoke(*request, metadata=own if named else (*own, self._token), **options)

    async def __aenter__(self) -> Self:
        """The channel connects with the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it, and every call on it."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close it when the calls on it are over, at the latest after `grace` seconds."""
        await self._opened.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Whether it is connected."""
        return self._opened.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return when that has changed."""
        await self._opened.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Return when it is connected."""
        await self._opened.channel_ready()


class GrpcClient:
    """The verbs of the API (common.client.api.ApiClient), logs, and the typed stub beneath.

    Use it with `async with`, which closes the channel. `warn` gets each warning of the API server,
    such as a field that it does not know; unless it is set, they are logged.
    """

    def __init__(self, opened: grpc.aio.Channel) -> None:
        self.channel = opened
        self.stub = ClusterStub(opened)
        self.warn: Callable[[str], None] = log.warning

    async def __aenter__(self) -> GrpcClient:
        """Nothing to do: channels connect with the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel and every call on it."""
        await self.channel.close()

    @staticmethod
    def resource(word: str) -> Resource:
        """The resource that `word` means: plural, singular, short name; raises StatusError 404."""
        resources = SCHEME.find(word)
        if resources is None:
            raise StatusError(404, "NotFound", f'the server has no resource type "{word}"')
        return resources

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        """The most recent state of an object."""
        with translated():
            request = pb.GetRequest(object=object_name(resource, namespace, name))
            return (await self.stub.Get(request)).object

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> ObjectList:
        """All objects that the selectors choose."""
        with translated():
            request = pb.ListRequest(
                resource=resource_name(resource),
                namespace=namespace,
                resource_version=resource_version,
                label_selector=label_selector,
                field_selector=field_selector,
            )
            reply = await self.stub.List(request)
            return ObjectList(list(reply.items), int(reply.resource_version))

    async def table(
        self, resource: Resource, namespace: str, name: str = "", *, label_selector: str = ""
    ) -> dict[str, Any]:
        """The columns of `kubectl get`, of one object or of all; a Table of meta.k8s.io/v1."""
        with translated():
            if name:
                wanted = object_name(resource, namespace, name)
                one = await self.stub.Get(pb.GetRequest(object=wanted, encoding=pb.TABLE))
                return dict(codec.decode_plain(one.object))
            request = pb.ListRequest(
                resource=resource_name(resource),
                namespace=namespace,
                label_selector=label_selector,
                encoding=pb.TABLE,
            )
            return dict(codec.decode_plain((await self.stub.List(request)).items[0]))

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[Sequence[WatchEvent], None]:
        """Changes after a revision; without one, everything that is there comes first."""
        request = pb.WatchRequest(
            resource=resource_name(resource),
            namespace=namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        call = self.stub.Watch(request)
        try:
            with translated():
                async for event in call:
                    kind = pb.WatchEvent.Type.Name(event.type)
                    yield [WatchEvent(kind, int(event.resource_version), event.object)]
        finally:
            call.cancel()

    async def create(self, resource: Resource, namespace: str, data: bytes) -> bytes:
        """Create an object."""
        with translated():
            wanted = object_name(resource, namespace)
            return self._taken(await self.stub.Create(pb.CreateRequest(object=wanted, body=data)))

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        data: bytes,
        *,
        subresource: str = "",
    ) -> bytes:
        """Replace an object or one of its subresources."""
        with translated():
            wanted = object_name(resource, namespace, name, subresource)
            return self._taken(await self.stub.Update(pb.UpdateRequest(object=wanted, body=data)))

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
        strategic: bool = False,
    ) -> bytes:
        """JSON merge patch, or a strategic one, by which lists are merged, too."""
        with translated():
            wanted = object_name(resource, namespace, name, subresource)
            form = pb.PatchRequest.STRATEGIC if strategic else pb.PatchRequest.MERGE
            request = pb.PatchRequest(object=wanted, body=codec.encode(dict(patch)), type=form)
            return self._taken(await self.stub.Patch(request))

    def _taken(self, reply: pb.ObjectReply) -> bytes:
        """The object of an answer to a write; what the server warns of is told."""
        for text in reply.warnings:
            self.warn(text)
        return reply.object

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> None:
        """Delete the object that has this uid; whatever has the name when `uid` is empty."""
        with translated():
            await self.stub.Delete(
                pb.DeleteRequest(
                    object=object_name(resource, namespace, name),
                    uid=uid,
                    grace_period_seconds=grace_period_seconds,
                    propagation_policy=propagation_policy,
                )
            )

    async def bind(self, namespace: str, name: str, *, uid: str, node: str) -> None:
        """Bind a pod to a node."""
        body = {"metadata": {"name": name, "uid": uid}, "target": {"kind": "Node", "name": node}}
        wanted = object_name(self.resource("pods"), namespace, name, "binding")
        with translated():
            await self.stub.Create(pb.CreateRequest(object=wanted, body=codec.encode(body)))

    async def evict(self, namespace: str, name: str, *, uid: str) -> None:
        """Ask a pod to go. Raises StatusError: 429 when a budget does not allow it yet, 404 when
        there is no such pod or the server knows no evictions."""
        meta = {"name": name, "namespace": namespace}
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": meta,
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        wanted = object_name(self.resource("pods"), namespace, name, "eviction")
        with translated():
            await self.stub.Create(pb.CreateRequest(object=wanted, body=codec.encode(body)))

    def exec(
        self,
        namespace: str,
        pod: str,
        command: Sequence[str],
        *,
        container: str = "",
        stdin: bool = False,
        terminal: bool = False,
    ) -> RemoteCommand:
        """A command in a container; it is killed at the end of the block that it is used in."""
        start = pb.CommandStart(
            namespace=namespace,
            pod=pod,
            container=container,
            command=command,
            stdin=stdin,
            terminal=terminal,
        )
        return RemoteCommand(self.stub.Exec, start)

    def attach(
        self, namespace: str, pod: str, *, container: str = "", stdin: bool = False
    ) -> RemoteCommand:
        """The first process of a container, from now on."""
        start = pb.CommandStart(namespace=namespace, pod=pod, container=container, stdin=stdin)
        return RemoteCommand(self.stub.Attach, start)

    def connection(self, namespace: str, pod: str, port: int) -> PodConnection:
        """A connection to a port of a pod, until the end of the block that it is used in."""
        start = pb.PortForwardStart(namespace=namespace, pod=pod, port=port)
        return PodConnection(self.stub.PortForward, start)

    async def push_image(
        self, node: str, archive: AsyncIterator[bytes], size_bytes: int
    ) -> Sequence[str]:
        """Give a node the images of an archive; their names. Raises StatusError."""
        start = pb.PushImageStart(node=node, size_bytes=size_bytes)
        async with ImagePush(self.stub.PushImage, start) as push:
            return await push.names(archive)

    async def logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str = "",
        follow: bool = False,
        previous: bool = False,
        tail_lines: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The log of a container, in pieces."""
        request = pb.LogsRequest(
            namespace=namespace,
            pod=pod,
            container=container,
            follow=follow,
            previous=previous,
            tail_lines=tail_lines,
        )
        call = self.stub.Logs(request)
        try:
            with translated():
                async for reply in call:
                    yield reply.data
        finally:
            call.cancel()


def resource_name(resource: Resource) -> pb.ResourceName:
    """A resource as requests name it."""
    return pb.ResourceName(group=resource.group, version=resource.version, plural=resource.plural)


def object_name(
    resource: Resource, namespace: str, name: str = "", subresource: str = ""
) -> pb.ObjectName:
    """An object as requests name it."""
    return pb.ObjectName(
        resource=resource_name(resource), namespace=namespace, name=name, subresource=subresource
    )
