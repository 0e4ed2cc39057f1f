"""200 nodes' control streams on one master: heartbeats, what they cost, and a master that dies.

The nodes are the kubelet's own `ControlStream`, with certificates of the master's authority and
without pods. A heartbeat that is lost would show as a Lease that is older than two heartbeats.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from common.etcd.client import EtcdClient, prefix_end
from common.etcd.types import Tls
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from node.session.control import ControlStream, Handlers
from node.session.credentials import Credentials
from protos import node_v1_pb2
from tests.bench.measure import Row
from tests.bench.processes import cpu_seconds, pid_of, rss_mib, running_master
from tests.fakes.master import RunningMaster

NODES = 200
HEARTBEAT_SECONDS = 5.0
STEADY_SECONDS = 20.0
QUIET_SECONDS = 3.0
DEADLINE_SECONDS = 60.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def rows() -> Iterator[Row]:
    """The part of the report."""
    with running_master() as master:
        yield from asyncio.run(_measured(master))


async def _measured(master: RunningMaster) -> list[Row]:
    authority = master.client_ca()
    streams = []
    async with asyncio.TaskGroup() as group:
        start = time.monotonic()
        for number in range(NODES):
            name = f"n{number}"
            pair = authority.issue_client(f"system:node:{name}", organizations=("system:nodes",))
            own = Credentials(
                ca=master.kubeconfig.ca_pem, certificate=pair.certificate_pem, key=pair.key_pem
            )
            target = f"127.0.0.1:{master.node_port}"
            stream = ControlStream(target, own, clock=SystemClock(), rng=SystemRng())
            group.create_task(stream.run(_handlers(number)))
            streams.append(stream)
        usage = group.create_task(_report_usage(streams))
        await _until(lambda: all(one.connected for one in streams), "every node is connected")
        joined = time.monotonic() - start
        found = [Row(f"{NODES} nodes join at once", f"{joined:.1f} s")]
        found += await _steady(master)
        found.append(await _killed(master, streams))
        usage.cancel()
        for task in group._tasks:
            task.cancel()
    return found
