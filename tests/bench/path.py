"""A call's way through the master: what a GET, a create and a denial cost, and RBAC's decision.

Clients with certificates, each on a connection of its own, ask as fast as they are answered; what
is told is the CPU time of the master, and of its etcd, for one call. `python -m tests.bench.path 3`
measures three times over.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPSConnection
from itertools import count

import psutil

from common.api.types.rbac_v1 import Subject
from common.security.identity import Identity
from common.security.keypair import KeyPair
from master.apiserver.auth.attributes import Attributes
from tests.bench.measure import Row, cpu_us
from tests.bench.processes import cpu_seconds, pid_of, rss_mib, running_master
from tests.fakes.roles import binding, policy, role, rule
from tests.integration.security.test_rbac import bound
from tests.servers.master import RunningMaster

CLIENTS = 16
CALLS = 4_000
BINDINGS = 1_000
PATH = "/api/v1/namespaces/default/configmaps"
DATA = {"k": "x" * 1_000}
Request = Callable[[], tuple[str, str, str]]
"""(method, path, body) of the next one."""


def rows() -> Iterator[Row]:
    """The part of the report."""
    yield from _decisions()
    with running_master() as master:
        yield Row("master's memory at rest", f"{rss_mib(pid_of(master)):.0f} MiB")
        admin = master.kubeconfig.certificate
        assert admin is not None
        master.admin().json("POST", PATH, {"metadata": {"name": "seen"}, "data": DATA})
        for number in range(BINDINGS):
            bound(master, f"b{number}", "view", {"kind": "User", "name": f"u{number}"})
        authority = master.client_ca()
        user, stranger = authority.issue_client("u500"), authority.issue_client("stranger")
        yield from _costs(master, admin, user, stranger)


def _costs(
    master: RunningMaster, admin: KeyPair, user: KeyPair, stranger: KeyPair
) -> Iterator[Row]:
    names = count()

    def get() -> tuple[str, str, str]:
        return "GET", f"{PATH}/seen", ""

    def create() -> tuple[str, str, str]:
        made = {"metadata": {"name": f"made-{next(names)}"}, "data": DATA}
        return "POST", PATH, json.dumps(made)

    cost_ms(master, admin, get, 200)  # warm-up
    of_admin = cost_ms(master, admin, get, 200)
    of_user = cost_ms(master, user, get, 200)
    denied = cost_ms(master, stranger, get, 403)
    created = cost_ms(master, admin, create, 201)
    yield Row("GET over TLS by an administrator", _text(of_admin), "0.30 ms of the master")
    yield Row(f"  by one of {BINDINGS} users with a role", _text(of_user), "0.30 ms of the master")
    share = sum(denied) / sum(of_user)
    yield Row("  denied", f"{_text(denied)}: {share:.2f} times it", "less than once")
    yield Row("create of 1 KiB", _text(created), "1.2 ms with etcd")


def _text(cost: tuple[float, float]) -> str:
    return f"{cost[0]:.2f} ms, etcd {cost[1]:.2f} ms"


def cost_ms(
    master: RunningMaster, who: KeyPair, request: Request, code: int
) -> tuple[float, float]:
    """CPU time of the master and of its etcd for a call that is answered with `code`."""
    (etcd,) = psutil.Process(pid_of(master)).children()
    pids = pid_of(master), etcd.pid

    def send(connection: HTTPSConnection) -> None:
        method, path, body = request()
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == code, text

    def client(connection: HTTPSConnection) -> None:
        for _ in range(CALLS // CLIENTS):
            send(connection)

    connections = [master.connection(who) for _ in range(CLIENTS)]
    for connection in connections:
        send(connection)  # the handshake is not counted
    before = [cpu_seconds(pid) for pid in pids]
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, connections))
    of_master, of_etcd = (
        (cpu_seconds(pid) - then) / CALLS * 1e3 for pid, then in zip(pids, before, strict=True)
    )
    for connection in connections:
        connection.close()
    return of_master, of_etcd


def _decisions() -> Iterator[Row]:
    """Of one who has a role among many who have one, and of one who has none."""
    subjects = [Subject(kind="User", name=f"u{number}") for number in range(BINDINGS)]
    made = policy(
        role("reader", rule("get,list,watch", "pods,services", "core"), namespace="a"),
        *(
            binding(f"b{number}", "Role", "reader", subject, namespace="a")
            for number, subject in enumerate(subjects)
        ),
    )
    wanted = Attributes("get", "", "pods", namespace="a", name="p")
    for user, what in ((f"u{BINDINGS // 2}", "allowed"), ("stranger", "denied")):
        identity = Identity(user, ("system:authenticated",))
        assert bool(made.allows(identity, wanted)) == (what == "allowed")
        spent = cpu_us(partial(made.allows, identity, wanted), times=1_000)
        yield Row(f"RBAC's decision with {BINDINGS} bindings, {what}", f"{spent:.1f} us", "10 us")


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        for row in rows():
            print(f"{row.what:<58} {row.measured:<48} {row.target}", flush=True)
