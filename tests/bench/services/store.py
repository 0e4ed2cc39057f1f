"""Services and EndpointSlices by the thousand, written straight into a master's etcd."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from common.etcd.client import EtcdClient
from common.etcd.types import Put, Tls
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from master.storage.embedded import SERVER_NAME
from node.kubeproxy.proxy import SERVICES, SLICES
from tests.servers.master import RunningMaster

ENDPOINTS = 10
PUTS_AT_ONCE = 100
BASE_PORT = 8080


@asynccontextmanager
async def etcd_of(master: RunningMaster) -> AsyncIterator[EtcdClient]:
    """A client of the master's own etcd."""
    pki = master.directory / "data/etcd/pki"
    ca, certificate, key = (pki / name for name in ("ca.crt", "client.crt", "client.key"))
    tls = Tls(ca.read_bytes(), certificate.read_bytes(), key.read_bytes(), SERVER_NAME)
    target = f"127.0.0.1:{master.etcd_port}"
    client = EtcdClient([target], tls, clock=SystemClock(), rng=SystemRng())
    try:
        yield client
    finally:
        await client.close()


def cluster_ip(number: int) -> str:
    """The address of a service."""
    return f"10.43.{number // 250 + 1}.{number % 250 + 1}"


def addresses(number: int) -> list[str]:
    """The addresses of a service's endpoints; no two services share one."""
    places = range(number * ENDPOINTS, (number + 1) * ENDPOINTS)
    return [f"10.42.{place // 250}.{place % 250 + 1}" for place in places]


def put_service(number: int) -> Put:
    """A service with one port."""
    ports = [{"port": 80, "protocol": "TCP", "targetPort": BASE_PORT}]
    spec = {"clusterIP": cluster_ip(number), "type": "ClusterIP", "ports": ports}
    spec |= {"clusterIPs": [cluster_ip(number)], "ipFamilies": ["IPv4"]}
    return _put(SERVICES, "v1", "Service", number, {"spec": spec})


def put_slice(number: int, port: int = BASE_PORT) -> Put:
    """The endpoints of a service, which listen on a port."""
    ends = [{"addresses": [one], "conditions": {"ready": True}} for one in addresses(number)]
    ports = [{"name": "", "port": port, "protocol": "TCP"}]
    body = {"addressType": "IPv4", "endpoints": ends, "ports": ports}
    return _put(SLICES, "discovery.k8s.io/v1", "EndpointSlice", number, body)


def _put(prefix: str, version: str, kind: str, number: int, body: dict[str, object]) -> Put:
    metadata = {
        "name": f"s{number}",
        "namespace": "default",
        "uid": f"00000000-0000-4000-8000-{number:012d}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"kubernetes.io/service-name": f"s{number}"},
    }
    made = {"apiVersion": version, "kind": kind, "metadata": metadata, **body}
    return Put(f"{prefix}default/s{number}".encode(), json.dumps(made).encode())


async def write(etcd: EtcdClient, puts: Iterable[Put]) -> None:
    """Write in transactions of at most PUTS_AT_ONCE."""
    every: Sequence[Put] = list(puts)
    for first in range(0, len(every), PUTS_AT_ONCE):
        await etcd.txn([], every[first : first + PUTS_AT_ONCE])
