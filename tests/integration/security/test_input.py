"""Bodies and paths that mean harm, over the wire: rows F2, F5, F7, F8 and F17."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from common.api.scheme import SCHEME
from master.apiserver.rest.openapi.operations import path_of
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
MAPS = "/api/v1/namespaces/default/configmaps"
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
MEMORY_MAX_BYTES = 64 << 20


def send(
    master: RunningMaster, method: str, path: str, body: Any, **headers: str
) -> tuple[int, bytes]:
    """A request with any headers; (status, body). An iterator is sent in chunks, without end."""
    admin = master.client_ca().issue_client("admin", organizations=("system:masters",))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", master.port, context=master.context(admin), timeout=60
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        # A server that has seen enough answers and closes while it is still being written to.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, named, encode_chunked=not _is_bytes(body))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _is_bytes(body: Any) -> bool:
    return isinstance(body, bytes)


def memory(master: RunningMaster) -> int:
    """Resident bytes of the master."""
    assert master.process is not None
    return int(psutil.Process(master.process.pid).memory_info().rss)


def endless() -> Iterator[bytes]:
    """A body of 200 MiB."""
    for _ in range(200):
        yield b"a" * (1 << 20)


@pytest.mark.parametrize("kind", ["one byte too many", "chunked without end", "gzip bomb"])
def test_a_body_that_is_too_large_is_refused_and_costs_no_memory(
    master: RunningMaster, kind: str
) -> None:
    """F2."""
    before = memory(master)
    limit = 3 << 20
    if kind == "one byte too many":
        status, _ = send(master, "POST", MAPS, b"a" * (limit + 1))
    elif kind == "chunked without end":
        try:
            status, _ = send(master, "POST", MAPS, endless(), Transfer_Encoding="chunked")
        except ConnectionResetError:
            status = 413  # the answer was lost with the connection that the server has closed
    else:
        bomb = gzip.compress(b" " * (300 << 20))
        status, _ = send(master, "POST", MAPS, bomb, Content_Encoding="gzip")
    assert status == (415 if kind == "gzip bomb" else 413), "nothing is unpacked"
    assert memory(master) - before < MEMORY_MAX_BYTES
    assert master.admin().request("GET", MAPS)[0] == 200


@pytest.mark.parametrize(
    ("kind", "patch", "expected"),
    [
        (JSON_PATCH, [{"op": "add", "path": "/data", "value": {}}] * 10_001, 413),
        (
            JSON_PATCH,
            [{"op": "add", "path": "/data", "value": {"a": "x" * 1000}}]
            + [{"op": "copy", "from": "/data", "path": f"/data/k{n}"} for n in range(40)],
            422,
        ),
        (JSON_PATCH, [{"op": "remove", "path": "/data/none"}], 422),
        (JSON_PATCH, [{"op": "add", "path": "data", "value": 1}], 422),
        (JSON_PATCH, [{"op": "fly", "path": "/data"}], 422),
        (JSON_PATCH, [{"op": "test", "path": "/data", "value": 1}], 422),
        (JSON_PATCH, {"op": "add"}, 400),
        (JSON_PATCH, [5], 400),
        (MERGE_PATCH, {"data": 5}, 422),
        (MERGE_PATCH, {"metadata": "x"}, 422),
        (MERGE_PATCH, {"data": {"a": {"b": 1}}}, 422),
        (MERGE_PATCH, [1], 400),
    ],
)
def test_patches_that_mean_harm(
    master: RunningMaster, kind: str, patch: Any, expected: int
) -> None:
    """F5: refused with a reason, and the object is as it was."""
    body = {"metadata": {"name": "patched"}, "data": {"a": "1"}}
    master.admin().request("POST", MAPS, json.dumps(body).encode())
    before = master.admin().json("GET", f"{MAPS}/patched")
    status, answer = send(
        master, "PATCH", f"{MAPS}/patched", json.dumps(patch).encode(), Content_Type=kind
    )
    assert status == expected, answer
    assert json.loads(answer)["kind"] == "Status"
    assert master.admin().json("GET", f"{MAPS}/patched") == before


def test_a_name_that_begins_like_another_one_is_another_one(master: RunningMaster) -> None:
    """F7: neither a list nor a watch of one shows the other."""
    admin = master.admin()
    for space in ("a", "ab"):
        admin.json("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
        for name in ("x", "xy"):
            path = f"/api/v1/namespaces/{space}/configmaps"
            admin.json("POST", path, {"metadata": {"name": f"{space}-{name}"}})
    path = "/api/v1/namespaces/a/configmaps"
    found = {item["metadata"]["namespace"] for item in admin.json("GET", path)["items"]}
    assert found == {"a"}
    status, seen = admin.request("GET", f"{path}?watch=1&timeoutSeconds=1")
    assert status == 200
    events = [json.loads(line) for line in seen.splitlines()]
    names = {event["object"]["metadata"]["name"] for event in events}
    assert {"a-x", "a-xy"} <= names
    assert not any(name.startswith("ab-") for name in names)
    field = f"{path}?fieldSelector=metadata.name%3Da-x"
    assert len(admin.json("GET", field)["items"]) == 1


def test_a_watcher_that_never_reads_is_closed(master: RunningMaster) -> None:
    """F5: what waits for it is bounded; others who watch the same are told all the while."""
    admin = master.admin()
    made = admin.json("POST", MAPS, {"metadata": {"name": "watched"}})
    path = f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}"
    silent, reader = watching(master, path), watching(master, path)
    own_port = silent.sock.getsockname()[1]
    answer = reader.getresponse()
    for number in range(60):
        changed = {"metadata": {"name": "watched"}, "data": {"k": f"{number} " + "x" * 500_000}}
        admin.json("PUT", f"{MAPS}/watched", changed)
        event = json.loads(answer.readline())
        assert event["object"]["data"]["k"].startswith(f"{number} ")
        if own_port not in remote_ports(master):
            break
    assert own_port not in remote_ports(master)
    silent.close()
    reader.close()


def watching(master: RunningMaster, path: str) -> http.client.HTTPSConnection:
    """A connection on which a watch was asked for and nothing was read."""
    admin = master.client_ca().issue_client("admin", organizations=("system:masters",))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", master.port, context=master.context(admin), timeout=60
    )
    connection.request("GET", path)
    return connection


def remote_ports(master: RunningMaster) -> set[int]:
    """The clients' ports of the connections that the master holds open."""
    assert master.process is not None
    held = psutil.Process(master.process.pid).net_connections("tcp")
    return {one.raddr.port for one in held if one.raddr}


def test_resources_of_the_cluster_have_no_namespace_and_others_need_one(
    master: RunningMaster,
) -> None:
    """F8: every cluster-scoped resource through a namespaced path is not there."""
    admin = master.admin()
    checked = 0
    for resource in SCHEME.resources():
        base = f"/{path_of(resource)}"
        if resource.namespaced:
            continue
        checked += 1
        for path in (
            f"{base}/namespaces/default/{resource.plural}",
            f"{base}/namespaces/default/{resource.plural}/x",
        ):
            status, _ = admin.request("GET", path)
            assert status in (403, 404), path
    assert checked >= 4
    assert admin.request("POST", "/api/v1/configmaps", b'{"metadata":{"name":"x"}}')[0] == 405


def test_what_clients_send_cannot_forge_a_log_record(master: RunningMaster) -> None:
    """F17: a denial is one line, whatever stands in path, name and user agent."""
    forged = 'x" level=info message="forged'
    connection = http.client.HTTPSConnection(
        "127.0.0.1", master.port, context=master.context(None), timeout=10
    )
    before = len(master.log.read_bytes().splitlines())
    path = "/api/v1/namespaces/default/pods/a%20level=info%22"
    connection.request("GET", path, headers={"User-Agent": forged})
    assert connection.getresponse().status == 401
    connection.close()
    lines = master.log.read_bytes().splitlines()[before:]
    assert len(lines) == 1, lines
    assert b"\x1b" not in lines[0]
    assert not any(line.startswith(b"forged") for line in lines)
