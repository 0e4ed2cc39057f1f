"""pods/NAME/exec and attach: the streams of a process, from its node through a session."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from master.apiserver.registry.duplex import Command, CommandHandler, CommandOptions, Query
from master.apiserver.registry.stored import Stored
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.commandoptions import attach_options, exec_options
from master.nodes.session import Session
from master.nodes.sessions import NodeSessions
from protos import node_v1_pb2


class _PodProcess(CommandHandler):
    def __init__(self, stored: Stored, sessions: NodeSessions) -> None:
        self._stored = stored
        self._sessions = sessions

    async def _pod(self, target: Target) -> Pod:
        return codec.decode(await self._stored.get(target), Pod)


class PodExec(_PodProcess):
    """A new process in a container."""

    async def command(self, target: Target, query: Query) -> Command:
        """Checked against the pod; raises StatusError 400 or 404."""
        pod = await self._pod(target)
        options = exec_options(pod, query)
        request = node_v1_pb2.ExecRequest(
            container=_name(pod, options), command=options.command, stdio=_stdio(options)
        )
        return Command(options, partial(_session, self._sessions, pod, exec=request))


class PodAttach(_PodProcess):
    """The first process of a container."""

    async def command(self, target: Target, query: Query) -> Command:
        """Checked against the pod; raises StatusError 400 or 404."""
        pod = await self._pod(target)
        options = attach_options(pod, query)
        request = node_v1_pb2.AttachRequest(container=_name(pod, options), stdio=_stdio(options))
        return Command(options, partial(_session, self._sessions, pod, attach=request))


def _session(
    sessions: NodeSessions, pod: Pod, **request: Any
) -> AbstractAsyncContextManager[Session]:
    return sessions.session(pod.spec.nodeName, endless=True, **request)


def _name(pod: Pod, options: CommandOptions) -> node_v1_pb2.ContainerName:
    meta = pod.metadata
    return node_v1_pb2.ContainerName(
        namespace=meta.namespace, pod=meta.name, uid=meta.uid, container=options.container
    )


def _stdio(options: CommandOptions) -> node_v1_pb2.Stdio:
    return node_v1_pb2.Stdio(
        stdin=options.stdin,
        stdout=options.stdout,
        stderr=options.stderr,
        terminal=options.terminal,
    )
