"""Handlers that answer with a conversation: commands in containers, connections to ports of pods,
requests to programs in pods, images for nodes.

What a client sends and gets is in channels; how these travel over HTTP or gRPC is for `rest` and
`rpc` to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, NamedTuple, Protocol

from master.apiserver.registry.handler import Handler
from master.apiserver.request.target import Target

STDIN, STDOUT, STDERR = 0, 1, 2
DATA = 0
"""The channel of conversations that have but one."""
Query = Mapping[str, Sequence[str]]
"""The parameters of a request, each with all of its values."""


class Piece(NamedTuple):
    """What comes on a channel; `closed` when that was all of it."""

    channel: int
    data: bytes
    closed: bool = False


class Duplex(Protocol):
    """The other end of a conversation."""

    exit_code: int
    """How the command has ended, once `receive` has answered None."""

    async def receive(self) -> Piece | None:
        """The next piece; None when the conversation is over. Raises StatusError."""
        ...

    async def send(self, data: bytes, channel: int = DATA) -> None:
        """Send data; waits while the other end does not take it."""
        ...

    def close(self, channel: int = DATA) -> None:
        """Nothing more is sent on that channel."""
        ...

    def resize(self, width: int, height: int) -> None:
        """The terminal has another size, in characters."""
        ...


class CommandOptions(NamedTuple):
    """What of a process is wanted. With a terminal, its stderr comes on stdout."""

    container: str
    command: Sequence[str]
    """Empty for the container's first process."""
    stdin: bool
    stdout: bool
    stderr: bool
    terminal: bool


class _Conversation(Handler):
    """Each side may send at any time. GET and POST are the same, and both need `create`.

    Kubernetes' WebSocket clients can send nothing but GET: a right to read must not become one to
    run commands.
    """

    connects: ClassVar[Sequence[str]] = ("create", "get")
    authorized_as: ClassVar[str] = "create"


class Command(NamedTuple):
    """A process that is asked for: what of it, and how to get it for as long as a block lasts."""

    options: CommandOptions
    run: Callable[[], AbstractAsyncContextManager[Duplex]]


Dial = Callable[[int], AbstractAsyncContextManager[Duplex]]
"""port -> a connection to it, for as long as the block lasts; raises StatusError."""


class CommandHandler(_Conversation):
    """exec and attach."""

    async def command(self, target: Target, query: Query) -> Command:
        """What is asked for, checked; raises StatusError 400 or 404."""
        raise NotImplementedError


class PortHandler(_Conversation):
    """portforward."""

    async def dial(self, target: Target) -> Dial:
        """How to connect to ports of a pod; raises StatusError 400 or 404."""
        raise NotImplementedError


class Upstream(NamedTuple):
    """A program in a pod that a request is meant for."""

    host: str
    """ADDRESS:PORT, by which the program may name itself."""
    is_tls: bool
    dial: Callable[[], AbstractAsyncContextManager[Duplex]]
    """A new connection to it, for as long as the block lasts; raises StatusError."""


class ProxyHandler(Handler):
    """proxy: each method needs the right to its own verb.

    OPTIONS has none in Kubernetes: only who may do everything may send it. Here it is `options`,
    which discovery does not show.
    """

    connects: ClassVar[Sequence[str]] = ("create", "delete", "get", "options", "patch", "update")

    @property
    def verbs(self) -> list[str]:
        """Those that clients are told of."""
        return [verb for verb in self.connects if verb != "options"]

    async def upstream(self, target: Target) -> Upstream:
        """Where the requests of a target go; raises StatusError 400, 404 or 503."""
        raise NotImplementedError


Load = Callable[[int], AbstractAsyncContextManager[Duplex]]
"""size in bytes -> who takes an archive and sends back the names in it, as a list in JSON."""


class ArchiveHandler(Handler):
    """nodes/images, over gRPC alone."""

    connects: ClassVar[Sequence[str]] = ("create",)

    async def archive(self, target: Target) -> Load:
        """How to give a node an archive of images; raises StatusError 404."""
        raise NotImplementedError
