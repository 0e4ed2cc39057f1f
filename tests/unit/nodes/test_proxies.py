"""Where requests through a proxy go: to pods of the namespace, by their nodes, nowhere else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.errors import StatusError, not_found
from common.api.scheme import SCHEME
from common.runtime.rng import SystemRng
from master.apiserver.registry.duplex import Upstream
from master.apiserver.request.target import Target
from master.nodes.proxies import PodProxy, ServiceProxy
from master.nodes.sessions import NodeSessions
from protos import node_v1_pb2

SPACE = "default"


class Objects:
    """Stored objects, as a handler of them answers."""

    pipeline: Any = SimpleNamespace(scheme=SCHEME)

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}

    def add(self, plural: str, name: str, namespace: str = SPACE, **fields: Any) -> None:
        """Store one; a pod is known by its name as uid."""
        meta = {"name": name, "namespace": namespace, "uid": name}
        self._objects[plural, namespace, name] = {"metadata": meta, **fields}

    def pod(self, name: str, address: str, namespace: str = SPACE) -> None:
        """A pod that runs on a node of its own."""
        containers = [{"name": "c", "ports": [{"containerPort": 8080}]}]
        spec = {"nodeName": f"node-of-{name}", "containers": containers}
        status = {"podIP": address, "podIPs": [{"ip": address}]}
        self.add("pods", name, namespace, spec=spec, status=status)

    def endpoints(self, *addresses: dict[str, Any]) -> None:
        """Those of a service `web`."""
        ports = [{"name": "http", "port": 8080}]
        self.add("endpoints", "web", subsets=[{"addresses": addresses, "ports": ports}])

    async def get(self, target: Target) -> bytes:
        """One of them."""
        found = self._objects.get((target.resource.plural, target.namespace, target.name))
        if found is None:
            raise not_found(target.resource, target.name)
        return codec.encode(found)


def endpoint(ip: str, pod: str | None, namespace: str = SPACE, kind: str = "Pod") -> dict[str, Any]:
    reference = {"kind": kind, "namespace": namespace, "name": pod}
    return {"ip": ip, **({"targetRef": reference} if pod is not None else {})}


@pytest.fixture
def objects() -> Objects:
    made = Objects()
    made.pod("a", "10.42.0.5")
    ports = [{"name": "http", "port": 80}]
    made.add("services", "web", spec={"ports": ports})
    made.endpoints(endpoint("10.42.0.5", "a"))
    return made


async def upstream(objects: Any, plural: str, name: str) -> Upstream:
    sessions = NodeSessions(rng=SystemRng())
    target = Target(SCHEME.require("", "v1", plural), SPACE, name, "proxy")
    if plural == "pods":
        return await PodProxy(objects, sessions).upstream(target)
    return await ServiceProxy(objects, sessions, SystemRng()).upstream(target)


@pytest.mark.parametrize(
    ("plural", "name", "expected"),
    [
        ("pods", "a", ("10.42.0.5:8080", False)),
        ("pods", "https:a:1", ("10.42.0.5:1", True)),
        ("services", "web:80", ("10.42.0.5:8080", False)),
        ("services", "https:web:http", ("10.42.0.5:8080", True)),
    ],
)
async def test_where_requests_go(
    objects: Objects, plural: str, name: str, expected: tuple[str, bool]
) -> None:
    assert (await upstream(objects, plural, name))[:2] == expected


async def test_the_node_of_the_pod_is_asked_for_its_own_address(objects: Objects) -> None:
    sessions, outbox = NodeSessions(rng=SystemRng()), asyncio.Queue[node_v1_pb2.ToNode]()
    sessions.node_connected("node-of-a", outbox)
    target = Target(SCHEME.require("", "v1", "pods"), SPACE, "a:81", "proxy")
    made = await PodProxy(objects, sessions).upstream(target)  # type: ignore[arg-type]

    async def connect() -> None:
        async with made.dial():
            pass

    connecting = asyncio.create_task(connect())
    wanted = (await outbox.get()).session.port_forward
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    assert (wanted.namespace, wanted.name, wanted.uid) == (SPACE, "a", "a")
    assert (wanted.port, wanted.own_address) == (81, True)


@pytest.mark.parametrize(
    "wrong",
    [
        endpoint("127.0.0.1", "a"),
        endpoint("169.254.169.254", "a"),
        endpoint("10.42.0.5", None),
        endpoint("10.42.0.5", "gone"),
        endpoint("10.42.0.7", "c", namespace="other"),
        endpoint("10.42.0.5", "a", kind="Node"),
    ],
)
async def test_an_endpoint_that_is_no_pod_of_the_namespace_is_not_dialed(
    objects: Objects, wrong: dict[str, Any]
) -> None:
    objects.pod("c", "10.42.0.7", "other")
    objects.endpoints(wrong)
    with pytest.raises(StatusError, match='no endpoints available for service "web:80"') as raised:
        await upstream(objects, "services", "web:80")
    assert raised.value.code == 503
    objects.endpoints(wrong, endpoint("10.42.0.5", "a"))
    assert (await upstream(objects, "services", "web:80")).host == "10.42.0.5:8080"


@pytest.mark.parametrize(
    ("plural", "name", "code"),
    [
        ("pods", "nobody:80", 404),
        ("pods", "ftp:a:80", 400),
        ("services", "nobody:80", 404),
        ("services", "nobody:http", 404),
        ("services", "web:81", 503),
        ("services", "web", 503),
        ("services", "web:other", 503),
    ],
)
async def test_what_is_not_there_is_told(
    objects: Objects, plural: str, name: str, code: int
) -> None:
    with pytest.raises(StatusError) as raised:
        await upstream(objects, plural, name)
    assert raised.value.code == code
