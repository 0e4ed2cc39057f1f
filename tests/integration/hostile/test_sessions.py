"""Fault row G7: a node answers for another, or twice: sessions are of the node that was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import grpc
import pytest

from common.security.identity import identity_from_pem
from protos.node_v1_pb2 import SessionFrame
from tests.integration.security.test_revocation import Node, asked, ended, running_pod
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
SESSION = "/wherry.node.v1.NodeService/Session"


@pytest.fixture
async def nodes(master: RunningMaster) -> AsyncIterator[tuple[Node, Node]]:
    """A node that means harm, and one with a pod."""
    made = [Node(master, name, master.node_certificate(name)) for name in ("bad", "good")]
    yield made[0], made[1]
    for node in made:
        await node.close()


async def refused(node: Node, token: str) -> grpc.aio.AioRpcError:
    """Why a node may not send what it says is of a session.

    It sends no more: a refusal that meets a message on its way is an internal error to grpc.aio.
    """

    async def frames() -> AsyncIterator[SessionFrame]:
        yield SessionFrame(id=token)
        await asyncio.Event().wait()

    call = node.stub().Session(frames())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ended(call)
    return error.value


def denials(master: RunningMaster) -> list[tuple[str, str, int]]:
    """(user, how they have logged in, code) of each refused session in the audit log."""
    lines = (master.directory / "data/audit.log").read_text().splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [
        (
            one["user"]["username"],
            one["annotations"]["wherry.dev/authenticated-by"],
            one["responseStatus"]["code"],
        )
        for one in events
        if one["requestURI"] == SESSION
    ]


async def test_a_session_is_the_nodes_that_was_asked_and_once(
    master: RunningMaster, nodes: tuple[Node, Node]
) -> None:
    bad, good = nodes
    await bad.connect("m1")
    call = await good.connect("m2")
    path = running_pod(master, "p", "good")
    with closing(master.connection(master.kubeconfig.certificate)) as connection:
        connection.request("GET", f"{path}/log?follow=true")
        token = await asked(call)
        assert (await refused(bad, token)).code() is grpc.StatusCode.PERMISSION_DENIED
        session = good.stub().Session()
        await session.write(SessionFrame(id=token))
        await session.write(SessionFrame(data=b"first\n"))
        answer = await asyncio.to_thread(connection.getresponse)
        assert await asyncio.to_thread(answer.readline) == b"first\n"
        for node in (bad, good):
            assert (await refused(node, token)).code() is grpc.StatusCode.PERMISSION_DENIED
        await session.write(SessionFrame(data=b"last\n", end=True))
        assert await asyncio.to_thread(answer.read) == b"last\n", "and nothing from anybody else"
    await ended(session)
    assert (await refused(good, token)).code() is grpc.StatusCode.PERMISSION_DENIED, "it is over"
    found = [(user, code) for user, _, code in denials(master)]
    names = [f"system:node:{name}" for name in ("bad", "bad", "good", "good")]
    assert found == [(name, 403) for name in names]


async def test_a_former_machine_of_a_node_answers_no_more(
    master: RunningMaster, nodes: tuple[Node, Node]
) -> None:
    """Its certificate is as good as before, but the Node is another's."""
    _, good = nodes
    call = await good.connect("m2")
    former = master.client_ca().issue_client("system:node:good", organizations=("system:nodes",))
    copy = Node(master, "good", former)
    path = running_pod(master, "q", "good")
    with closing(master.connection(master.kubeconfig.certificate)) as connection:
        connection.request("GET", f"{path}/log")
        token = await asked(call)
        error = await refused(copy, token)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        session = good.stub().Session()
        await session.write(SessionFrame(id=token))
        await session.write(SessionFrame(data=b"own\n", end=True))
        answer = await asyncio.to_thread(connection.getresponse)
        assert await asyncio.to_thread(answer.read) == b"own\n"
    await copy.close()
    proof = f"certificate {identity_from_pem(former.certificate_pem).serial}"
    assert denials(master)[-1] == ("system:node:good", proof, 401)
