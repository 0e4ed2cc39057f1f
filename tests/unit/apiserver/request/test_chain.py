"""What every call passes: rights, flow limits, and what the audit log says of it (G27)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from common.api import errors
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.security.identity import Identity
from master.apiserver.request import audit, flow
from master.apiserver.request.audit import Caller
from master.apiserver.request.chain import Chain
from master.apiserver.request.target import Target
from tests.fakes.chain import chain
from tests.fakes.clock import FakeClock
from tests.fakes.roles import USER, authorizer, binding, role, rule

SECRETS = SCHEME.require("", "v1", "secrets")
PODS = SCHEME.require("", "v1", "pods")
DEPLOYMENTS = SCHEME.require("apps", "v1", "deployments")
ADMIN = Identity("admin", ("system:masters",))
BOB = Identity("bob", ("dev",), serial="1a2b")
RIGHTS = authorizer(role("r", rule("*", "*", "*")), binding("b", "ClusterRole", "r", USER))


def caller(user: Identity, by: Identity | None = None) -> Caller:
    return Caller(user, by or user, "10.0.0.9", "kubectl/v1.36")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


async def write(made: Chain, user: Identity = BOB, error: StatusError | None = None) -> None:
    """One create of a Secret, which ends well or with an error."""
    async with made.call(caller(user), "create", Target(SECRETS, "n")) as call:
        if error is not None:
            raise error
        call.made(b'{"metadata":{"name":"s","uid":"u"},"data":{"k":"Y2FuYXJ5"}}')


async def test_a_write_is_one_line_without_what_was_written(log: Path) -> None:
    await write(chain(RIGHTS, log=log))
    (line,) = lines(log)
    assert line["objectRef"] == {
        "resource": "secrets",
        "namespace": "n",
        "name": "s",
        "uid": "u",
        "apiVersion": "v1",
    }
    assert (line["verb"], line["requestURI"]) == ("create", "/api/v1/namespaces/n/secrets")
    assert line["user"] == {"username": "bob", "groups": ["dev"]}
    assert (line["sourceIPs"], line["responseStatus"]) == (["10.0.0.9"], {"code": 201})
    assert line["annotations"]["wherry.dev/authenticated-by"] == "certificate 1a2b"
    assert "Y2FuYXJ5" not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


async def test_who_acts_as_somebody_else_is_named_too(log: Path) -> None:
    target = Target(DEPLOYMENTS, "n", "d", "scale")
    async with chain(RIGHTS, log=log).call(caller(BOB, ADMIN), "patch", target):
        pass
    (line,) = lines(log)
    assert (line["user"]["username"], line["impersonatedUser"]["username"]) == ("admin", "bob")
    assert line["requestURI"] == "/apis/apps/v1/namespaces/n/deployments/d/scale"


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
async def test_reads_are_written_down_when_they_are_refused(log: Path, verb: str) -> None:
    async with chain(RIGHTS, log=log).call(caller(BOB), verb, Target(SECRETS, "n", "s")):
        pass
    assert not log.exists()
    with pytest.raises(StatusError):
        async with chain(log=log).call(caller(BOB), verb, Target(SECRETS, "n", "s")):
            raise AssertionError("what is refused is not begun")
    (line,) = lines(log)
    assert (line["verb"], line["responseStatus"]["code"]) == (verb, 403)
    assert line["annotations"]["authorization.k8s.io/decision"] == "forbid"


async def test_strangers_are_written_down(log: Path) -> None:
    with pytest.raises(StatusError):
        chain(log=log).authenticate(None, "Bearer wrong", "10.0.0.1", path="/api/v1/pods")
    (line,) = lines(log)
    assert (line["user"]["username"], line["requestURI"]) == ("", "/api/v1/pods")
    assert line["annotations"]["wherry.dev/authenticated-by"] == "nothing"
    assert "wrong" not in log.read_text()


async def test_a_write_of_which_nobody_knows_the_end_is_written_down(log: Path) -> None:
    with pytest.raises(ConnectionResetError):
        async with chain(RIGHTS, log=log).call(caller(BOB), "delete", Target(SECRETS, "n", "s")):
            raise ConnectionResetError
    (line,) = lines(log)
    assert line["responseStatus"]["code"] == 504


async def test_a_stream_is_written_down_when_it_begins_and_when_it_ends(log: Path) -> None:
    """That somebody leaves is its end."""
    exec_ = Target(PODS, "n", "p", "exec")
    with pytest.raises(ConnectionResetError):
        async with chain(RIGHTS, log=log).call(caller(BOB), "create", exec_, is_stream=True):
            (line,) = lines(log)
            assert (line["stage"], line["objectRef"]["subresource"]) == ("ResponseStarted", "exec")
            raise ConnectionResetError
    _, line = lines(log)
    assert (line["stage"], line["responseStatus"]["code"]) == ("ResponseComplete", 201)


async def test_a_log_is_a_read_like_any_other(log: Path) -> None:
    target = Target(PODS, "n", "p", "log")
    async with chain(RIGHTS, log=log).call(caller(BOB), "get", target, is_stream=True):
        pass
    assert not log.exists()


async def test_streams_take_no_seat_of_other_calls(log: Path) -> None:
    made, leave = chain(RIGHTS), asyncio.Event()
    target = Target(PODS, "n", "p", "log")

    async def follow() -> None:
        async with made.call(caller(BOB), "get", target, is_stream=True):
            await leave.wait()

    tasks = [asyncio.create_task(follow()) for _ in range(flow.STREAM.seats)]
    await settle()
    async with made.call(caller(BOB), "get", Target(SECRETS, "n", "s")):
        pass
    with pytest.raises(StatusError) as raised:
        async with made.call(caller(BOB), "get", target, is_stream=True):
            pass
    assert raised.value.code == 429
    leave.set()
    await asyncio.gather(*tasks)
    async with made.call(caller(BOB), "get", target, is_stream=True):
        pass


async def test_a_failed_write_is_written_down_and_what_it_says_is_cut(log: Path) -> None:
    with pytest.raises(StatusError):
        await write(chain(RIGHTS, log=log), error=errors.bad_request('"\n' * 5000))
    (line,) = lines(log)
    assert len(line["responseStatus"]["message"]) == audit.TEXT_MAX_CHARACTERS


async def test_a_flood_of_refusals_is_counted(log: Path) -> None:
    clock = FakeClock()
    made = chain(log=log, clock=clock)
    burst, more = int(audit.REFUSALS_BURST), 50
    for _ in range(burst + more):
        with pytest.raises(StatusError):
            await write(made)
    assert len(lines(log)) == burst
    await clock.advance(1.0)
    with pytest.raises(StatusError):
        await write(made)
    assert lines(log)[-1]["annotations"]["wherry.dev/left-out"] == str(more)


async def test_a_full_disk_refuses_nothing_and_is_told_afterwards(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = chain(RIGHTS, log=log)
    await write(made)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(audit.os, "write", full)
        await write(made)
        await write(made)
    await write(made)
    found = lines(log)
    assert len(found) == 2
    assert found[-1]["annotations"]["wherry.dev/lost"] == "2"


async def test_a_torn_line_spoils_no_other(log: Path) -> None:
    log.write_bytes(b'{"kind":"Ev')  # the machine went down while it was written
    await write(chain(RIGHTS, log=log))
    torn, whole = log.read_text().splitlines()
    assert (torn, json.loads(whole)["kind"]) == ('{"kind":"Ev', "Event")


async def test_old_files_go(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FILE_MAX_BYTES", 100)
    made = chain(RIGHTS, log=log)
    for _ in range(audit.FILES_MAX + 3):
        await write(made)
    names = sorted(path.name for path in log.parent.iterdir())
    assert names == ["audit.log", *(f"audit.log.{n}" for n in range(1, audit.FILES_MAX))]
    assert all(len(lines(path)) == 1 for path in log.parent.iterdir())


async def hold(made: Chain, user: Identity, verb: str, leave: asyncio.Event) -> None:
    async with made.call(caller(user), verb, Target(SECRETS, "n")):
        await leave.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_user_waits_for_a_seat_and_no_other() -> None:
    made, leave, seats = chain(RIGHTS), asyncio.Event(), flow.LIST.seats
    tom = Identity("tom")
    tasks = [asyncio.create_task(hold(made, BOB, "list", leave)) for _ in range(seats)]
    await settle()
    waiting = asyncio.create_task(hold(made, BOB, "list", leave))
    await settle()
    async with made.call(caller(BOB), "get", Target(SECRETS, "n", "s")):
        pass  # his reads have seats of their own
    with pytest.raises(StatusError) as raised:
        async with made.call(caller(tom), "list", Target(SECRETS, "n")):
            pass
    assert raised.value.code == 403, "another user is answered"
    assert not waiting.done()
    leave.set()
    await asyncio.gather(*tasks, waiting)


async def test_too_many_that_wait_are_told_to_come_again() -> None:
    made, leave = chain(RIGHTS), asyncio.Event()
    count = flow.LIST.seats + flow.LIST.waiting
    tasks = [asyncio.create_task(hold(made, BOB, "list", leave)) for _ in range(count)]
    await settle()
    with pytest.raises(StatusError) as raised:
        async with made.call(caller(BOB), "list", Target(SECRETS, "n")):
            pass
    assert (raised.value.code, raised.value.details) == (429, {"retryAfterSeconds": 1})
    leave.set()
    await asyncio.gather(*tasks)
    async with made.call(caller(BOB), "list", Target(SECRETS, "n")):
        pass  # all is as it was


async def test_administrators_have_no_limit() -> None:
    made, leave = chain(), asyncio.Event()
    count = flow.WATCH.seats + 1
    tasks = [asyncio.create_task(hold(made, ADMIN, "watch", leave)) for _ in range(count)]
    await settle()
    leave.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("user", "backlog_max"), [(BOB, flow.BACKLOG_MAX), (ADMIN, flow.ADMINISTRATOR_BACKLOG_MAX)]
)
async def test_writes_wait_while_the_cache_is_behind(user: Identity, backlog_max: int) -> None:
    clock, behind = FakeClock(), [backlog_max + 1]
    made = chain(RIGHTS, clock=clock, backlog=lambda: behind[0])
    writing = asyncio.create_task(write(made, user))
    await settle()
    async with made.call(caller(user), "get", Target(SECRETS, "n", "s")):
        assert not writing.done(), "reads do not wait"
    behind[0] = backlog_max
    await clock.advance(flow.BACKLOG_SECONDS)
    await writing


async def test_an_administrator_does_not_wait_for_what_makes_users_wait() -> None:
    clock = FakeClock()
    made = chain(RIGHTS, clock=clock, backlog=lambda: flow.BACKLOG_MAX + 1)
    writing = asyncio.create_task(write(made))
    await settle()
    async with asyncio.timeout(5):
        await write(made, ADMIN)
    assert not writing.done()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_an_administrator_does_not_wait_for_long_and_is_not_refused() -> None:
    clock = FakeClock()
    made = chain(clock=clock, backlog=lambda: 10 * flow.ADMINISTRATOR_BACKLOG_MAX)
    writing = asyncio.create_task(write(made, ADMIN))
    await settle()
    clock.pass_at_once(flow.ADMINISTRATOR_WAIT_SECONDS - flow.BACKLOG_SECONDS)
    await clock.advance(flow.BACKLOG_SECONDS)
    assert not writing.done()
    await clock.advance(2 * flow.BACKLOG_SECONDS)
    await writing


async def test_the_masters_own_parts_do_not_wait_for_the_cache() -> None:
    made = chain(RIGHTS, backlog=lambda: 10 * flow.BACKLOG_MAX)
    target = Target(SCHEME.require("", "v1", "pods"), "n", "p", "binding")
    async with asyncio.timeout(5), made.call(Caller(BOB, BOB), "create", target) as call:
        assert call.verb == "create"


async def test_what_nodes_report_does_not_wait_for_the_cache(log: Path) -> None:
    node = Identity("system:node:n1", ("system:nodes",))
    made = chain(log=log, backlog=lambda: 10 * flow.BACKLOG_MAX)
    target = Target(SCHEME.require("", "v1", "nodes"), "", "n1", "status")
    async with asyncio.timeout(5), made.call(caller(node), "update", target):
        pass
    (line,) = lines(log)
    assert (line["user"]["username"], line["responseStatus"]) == ("system:node:n1", {"code": 200})


async def test_a_write_that_waits_for_too_long_is_told_to_come_again() -> None:
    clock = FakeClock()
    made = chain(RIGHTS, clock=clock, backlog=lambda: 1000)
    writing = asyncio.create_task(write(made))
    await settle()
    clock.pass_at_once(flow.WAIT_SECONDS + 1)
    await clock.advance(flow.BACKLOG_SECONDS)
    with pytest.raises(StatusError) as raised:
        await writing
    assert raised.value.code == 429


async def test_the_state_that_a_watch_begins_with_is_a_list() -> None:
    made, leave = chain(RIGHTS), asyncio.Event()
    tasks = [asyncio.create_task(hold(made, BOB, "list", leave)) for _ in range(flow.LIST.seats)]
    await settle()

    async def start() -> None:
        async with made.initial_state(caller(BOB)):
            pass

    starting = asyncio.create_task(start())
    await settle()
    assert not starting.done()
    leave.set()
    await asyncio.gather(starting, *tasks)
