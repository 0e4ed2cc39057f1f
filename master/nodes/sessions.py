"""Sessions: streams that a node opens because the master has asked it to.

A session is known by a one-time random id, told on the node's control stream. Callers reach a node
only through `NodeSessions`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from common.api import errors
from common.runtime.rng import Rng
from master.nodes.session import Session
from protos import node_v1_pb2

OPEN_TIMEOUT_SECONDS = 10.0
SESSIONS_MAX = 100
"""Of a node, by all callers: each takes a stream."""


class NodeSessions:
    """Opens sessions on nodes and matches the streams that the nodes open for them."""

    def __init__(self, *, rng: Rng) -> None:
        self._rng = rng
        self._sessions: dict[str, Session] = {}
        self._controls: dict[str, asyncio.Queue[Any]] = {}
        self._is_stopping = False

    def node_connected(self, node: str, outbox: asyncio.Queue[Any]) -> None:
        """The node's control stream sends what is put into `outbox`."""
        self._controls[node] = outbox

    def node_disconnected(self, node: str, outbox: asyncio.Queue[Any]) -> None:
        """That control stream has ended."""
        if self._controls.get(node) is outbox:
            del self._controls[node]

    @asynccontextmanager
    async def session(self, node: str, *, endless: bool, **request: Any) -> AsyncIterator[Session]:
        """A session on a node, until the end of the block.

        `request` is one of the requests of OpenSession, by its name. Raises StatusError when the
        node cannot be asked.
        """
        session = self._admit(node, endless=endless)
        try:
            await self._open(session, node_v1_pb2.OpenSession(id=session.id, **request))
            yield session
        finally:
            session.over()
            self._sessions.pop(session.id, None)

    def stop(self) -> None:
        """End what would never end; others have until the calls are cut off."""
        self._is_stopping = True
        for session in self._sessions.values():
            if session.endless:
                session.stop()

    def _admit(self, node: str, *, endless: bool) -> Session:
        """A new session, unless the node has too many; the caller takes it out again."""
        if endless and self._is_stopping:
            raise errors.stopping()
        if sum(session.node == node for session in self._sessions.values()) >= SESSIONS_MAX:
            raise errors.too_many_requests(
                f"node {node} has {SESSIONS_MAX} sessions already", retry_after_seconds=1
            )
        token = base64.urlsafe_b64encode(self._rng.token(16)).decode()
        session = Session(token, node, endless=endless)
        self._sessions[token] = session
        return session

    async def _open(self, session: Session, request: node_v1_pb2.OpenSession) -> None:
        """Ask the node for a stream and wait until it is there."""
        node = session.node
        outbox = self._controls.get(node)
        if outbox is None:
            raise errors.unavailable(f"node {node} is not connected")
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                await outbox.put(node_v1_pb2.ToNode(session=request))
                await session.opened.wait()
        except TimeoutError as error:
            raise errors.timeout(f"node {node} did not open the stream in time") from error

    def claim(self, token: str, node: str) -> Session | None:
        """The session that a node's stream is for; None when it is not that node's to open."""
        session = self._sessions.get(token)
        if session is None or session.node != node or session.opened.is_set():
            return None
        session.opened.set()
        return session
