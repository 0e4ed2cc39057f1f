"""Sessions: streams that a node opens because the master has asked it to.

A session is known by a one-time random id, told on the node's control stream. Callers reach a node
only through `NodeSessions`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from common.api import errors
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from master.apiserver.resources.core.pod.logoptions import LogOptions
from protos import node_v1_pb2

OPEN_TIMEOUT_SECONDS = 10.0
SESSIONS_MAX = 50
ERROR_MAX_BYTES = 4 << 10
ERROR_CODES = frozenset((400, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504))
"""Of a Status that a node may end a session with; none says that the caller is not known."""
QUEUE_MAX = 8
FRAME_MAX_BYTES = 256 << 10
"""Frames of a session that wait for its reader, and the size of one: a well-behaved node's are a
quarter of it. With SESSIONS_MAX they bound what a node's unread sessions take."""


@dataclass(slots=True, eq=False)
class Session:
    """One session: frames from the node wait in a bounded queue, so that a slow reader slows it."""

    id: str
    node: str
    endless: bool
    frames: asyncio.Queue[Any] = field(default_factory=partial(asyncio.Queue, QUEUE_MAX))
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


def end(frames: asyncio.Queue[Any]) -> None:
    """Let the reader of a session know that nothing more comes; a frame may give way to that."""
    if frames.full():
        frames.get_nowait()
    frames.put_nowait(None)


class NodeSessions:
    """Opens sessions on nodes and matches the streams that the nodes open for them."""

    def __init__(self, *, clock: Clock, rng: Rng) -> None:
        self._clock = clock
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

    async def logs(self, node: str, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """The bytes of a log; raises StatusError when the node cannot be asked or says no."""
        since_ms = options.since_ms
        if options.since_seconds:
            since_ms = int((self._clock.now().timestamp() - options.since_seconds) * 1000)
        request = node_v1_pb2.LogRequest(
            namespace=options.namespace,
            name=options.name,
            uid=options.uid,
            container=options.container,
            follow=options.follow,
            previous=options.previous,
            timestamps=options.timestamps,
            tail_lines=options.tail_lines,
            since_ms=since_ms,
            limit_bytes=options.limit_bytes,
        )
        session = self._admit(node, endless=options.follow)
        try:
            await self._open(session, request)
            while True:
                frame = await session.frames.get()
                if frame is None and self._is_stopping:
                    raise errors.stopping()
                if frame is None:
                    raise errors.unavailable(f"the stream from node {node} has ended")
                if len(frame.data) > FRAME_MAX_BYTES:
                    raise _protocol_error(node, f"a frame of {len(frame.data)} bytes")
                if frame.data:
                    yield frame.data
                if frame.end:
                    if frame.error:
                        raise _status_error(node, frame.error)
                    return
        finally:
            session.closed.set()
            self._sessions.pop(session.id, None)

    def stop(self) -> None:
        """End followed logs, which would never end; others have until the calls are cut off."""
        self._is_stopping = True
        for session in self._sessions.values():
            if session.endless:
                end(session.frames)

    def _admit(self, node: str, *, endless: bool) -> Session:
        """A new session, unless the node has too many; the caller takes it out again."""
        if endless and self._is_stopping:
            raise errors.stopping()
        if sum(session.node == node for session in self._sessions.values()) >= SESSIONS_MAX:
            raise errors.too_many_requests(
                f"node {node} has {SESSIONS_MAX} sessions already", retry_after_seconds=1
            )
        token = base64.urlsafe_b64encode(self._rng.token(16)).decode()
        session = Session(token, node, endless)
        self._sessions[token] = session
        return session

    async def _open(self, session: Session, request: node_v1_pb2.LogRequest) -> None:
        """Ask the node for a stream and wait until it is there."""
        node = session.node
        outbox = self._controls.get(node)
        if outbox is None:
            raise errors.unavailable(f"node {node} is not connected")
        open_session = node_v1_pb2.OpenSession(id=session.id, log=request)
        await outbox.put(node_v1_pb2.ToNode(session=open_session))
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
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


class _Status(msgspec.Struct):
    """The members of a Status that a node may choose."""

    code: int
    reason: str = ""
    message: str = ""


def _status_error(node: str, data: bytes) -> errors.StatusError:
    """The error that a node has sent as a Status; 502 for what is none."""
    try:
        status = msgspec.json.decode(data[:ERROR_MAX_BYTES], type=_Status)
    except (msgspec.DecodeError, ValueError) as error:
        return _protocol_error(node, f"an error that is no Status: {error}")
    if status.code not in ERROR_CODES:
        return _protocol_error(node, f"an error of code {status.code}")
    return errors.StatusError(status.code, status.reason[:64], status.message)


def _protocol_error(node: str, what: str) -> errors.StatusError:
    return errors.StatusError(502, "InternalError", f"node {node} has sent {what}")
