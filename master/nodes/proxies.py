"""pods/NAME/proxy and services/NAME/proxy: connections to programs in pods, through sessions.

No address is dialed from here: the node of a pod connects to the pod, at the address that the node
itself has given it. So nothing but pods can be reached.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeVar

from common.api import errors
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.types.core_v1 import EndpointAddress, Endpoints, Pod, Service
from common.runtime.rng import Rng
from master.apiserver.registry.duplex import ProxyHandler, Upstream
from master.apiserver.registry.stored import Stored
from master.apiserver.request.target import Target
from master.apiserver.resources.core import proxying
from master.apiserver.resources.core.proxying import HTTPS, Place
from master.nodes.session import Session
from master.nodes.sessions import NodeSessions
from protos import node_v1_pb2

T = TypeVar("T", Pod, Service, Endpoints)


class _Proxy(ProxyHandler):
    def __init__(self, stored: Stored, sessions: NodeSessions) -> None:
        self._stored = stored
        self._sessions = sessions

    async def _get(self, plural: str, namespace: str, name: str, cls: type[T]) -> T:
        """An object of the core group; raises StatusError 404."""
        resource = self._stored.pipeline.scheme.require("", "v1", plural)
        return codec.decode(await self._stored.get(Target(resource, namespace, name)), cls)

    def _upstream(self, asked: Place, pod: Pod, address: str, port: int) -> Upstream:
        return Upstream(
            f"[{address}]:{port}" if ":" in address else f"{address}:{port}",
            asked.scheme == HTTPS,
            partial(self._connection, pod, port),
        )

    def _connection(self, pod: Pod, port: int) -> AbstractAsyncContextManager[Session]:
        meta = pod.metadata
        request = node_v1_pb2.PortForwardRequest(
            namespace=meta.namespace, name=meta.name, uid=meta.uid, port=port, own_address=True
        )
        return self._sessions.session(pod.spec.nodeName, endless=True, port_forward=request)


class PodProxy(_Proxy):
    """A port of one pod."""

    async def upstream(self, target: Target) -> Upstream:
        """See ProxyHandler."""
        asked = proxying.place(target.name, "pod")
        pod = await self._get("pods", target.namespace, asked.name, Pod)
        address = proxying.address_of(pod)
        return self._upstream(asked, pod, address, proxying.port_of_pod(asked, pod))


class ServiceProxy(_Proxy):
    """A port of any ready pod of a service."""

    def __init__(self, stored: Stored, sessions: NodeSessions, rng: Rng) -> None:
        super().__init__(stored, sessions)
        self._rng = rng

    async def upstream(self, target: Target) -> Upstream:
        """See ProxyHandler."""
        asked = proxying.place(target.name, "service")
        space, name = target.namespace, asked.port
        if proxying.needs_service(asked):
            service = await self._get("services", space, asked.name, Service)
            name = proxying.port_name(asked, service)
        endpoints = await self._get("endpoints", space, asked.name, Endpoints)
        for address, port in proxying.candidates(endpoints, name, self._rng.random()):
            if (pod := await self._pod(space, address)) is not None:
                return self._upstream(asked, pod, address.ip, port)
        raise errors.unavailable(f'no endpoints available for service "{asked.text}"')

    async def _pod(self, namespace: str, address: EndpointAddress) -> Pod | None:
        """The pod of an endpoint, if there is one that has its address now."""
        target = address.targetRef
        if target is None or target.kind != "Pod" or target.namespace != namespace:
            return None
        try:
            pod = await self._get("pods", namespace, target.name, Pod)
        except StatusError as error:
            if error.code != 404:
                raise
            return None
        return pod if proxying.is_of(pod, address) else None
