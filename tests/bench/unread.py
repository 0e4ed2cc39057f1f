"""Clients that ask for much and read nothing: what they take of the master, and what stays.

1 500 watchers and twelve changes of an object of 0.9 MB, then eight lists of 300 such objects,
which are then deleted all at once. The kernel's socket buffers are not counted: a client cannot
make them grow beyond their limit.
"""

from __future__ import annotations

import json
import resource
import ssl
import time
from collections.abc import Iterator

from tests.bench.measure import Row
from tests.bench.processes import pid_of, rss_mib, running_master
from tests.servers.master import RunningMaster

WATCHERS = 1_500
CHANGES = 12
OBJECTS = 300
LISTS = 8
OBJECT_BYTES = 900_000
REST_SECONDS = 60.0
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def rows() -> Iterator[Row]:
    """The part of the report."""
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    with running_master() as master:
        admin = master.admin()
        made = admin.json("POST", CONFIG_MAPS, _config_map("changed", "0"))
        watch = f"watch=1&resourceVersion={made['metadata']['resourceVersion']}"
        unread = [_ask(master, watch) for _ in range(WATCHERS)]
        yield Row(f"{WATCHERS} watchers of nothing", _most(master))
        for number in range(CHANGES):
            admin.json("PUT", f"{CONFIG_MAPS}/changed", _config_map("changed", str(number)))
        yield Row(f"{WATCHERS} watchers that do not read, {CHANGES} changes", _most(master), "600")
        for number in range(OBJECTS):
            admin.json("POST", CONFIG_MAPS, _config_map(f"large-{number}", "0"))
        yield Row(f"  and {OBJECTS} objects of 0.9 MB in the cache", _most(master))
        unread += [_ask(master, "limit=0") for _ in range(LISTS)]
        yield Row(f"  and {LISTS} lists of them that nobody reads", _most(master), "600")
        deleting = _ask(master, "", method="DELETE")
        while "continue" in admin.json("GET", f"{CONFIG_MAPS}?limit=1")["metadata"]:
            time.sleep(0.2)  # in the end a controller's own is there again
        yield Row("  and who has deleted them reads nothing", _most(master), "600")
        for one in (*unread, deleting):
            one.close()
        time.sleep(REST_SECONDS)
        yield Row("  a minute after all have left", f"{rss_mib(pid_of(master)):.0f} MiB", "250")


def _config_map(name: str, mark: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "data": {"mark": mark, "x": "x" * OBJECT_BYTES}}


def _ask(master: RunningMaster, query: str, *, method: str = "GET") -> ssl.SSLSocket:
    """A request whose answer is not read."""
    import socket

    plain = socket.create_connection(("127.0.0.1", master.port))
    context = master.context(master.kubeconfig.certificate)
    made = context.wrap_socket(plain, server_hostname="127.0.0.1")
    made.sendall(f"{method} {CONFIG_MAPS}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return made


def _most(master: RunningMaster) -> str:
    """The most that the master takes within a few seconds."""
    found = []
    for _ in range(30):
        found.append(rss_mib(pid_of(master)))
        time.sleep(0.2)
    admin_seconds = time.monotonic()
    json.loads(master.admin().request("GET", "/api/v1/namespaces/default")[1])
    return f"{max(found):.0f} MiB, then a GET in {(time.monotonic() - admin_seconds) * 1e3:.0f} ms"


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what:<58} {row.measured:<48} {row.target}", flush=True)
