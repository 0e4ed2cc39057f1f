"""pods/NAME/portforward: connections to ports of a pod, from its node through sessions."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial

from common.api import errors
from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from master.apiserver.registry.duplex import Dial, PortHandler
from master.apiserver.registry.stored import Stored
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.commandoptions import PORT_MAX, check_assigned
from master.nodes.session import Session
from master.nodes.sessions import NodeSessions
from protos import node_v1_pb2


class PodPortForward(PortHandler):
    """Each connection is a session of its own: one that is slow holds up no other."""

    def __init__(self, stored: Stored, sessions: NodeSessions) -> None:
        self._stored = stored
        self._sessions = sessions

    async def dial(self, target: Target) -> Dial:
        """Of a pod that runs; raises StatusError 400 or 404."""
        pod = codec.decode(await self._stored.get(target), Pod)
        check_assigned(pod)
        if pod.status.phase != "Running":
            why = f"pod is not running. Current status={pod.status.phase}"
            raise errors.bad_request(f"unable to forward port because {why}")
        return partial(self._connection, pod)

    def _connection(self, pod: Pod, port: int) -> AbstractAsyncContextManager[Session]:
        if not 0 < port <= PORT_MAX:
            raise errors.bad_request(f"{port} is not the number of a port")
        meta = pod.metadata
        request = node_v1_pb2.PortForwardRequest(
            namespace=meta.namespace, name=meta.name, uid=meta.uid, port=port
        )
        return self._sessions.session(pod.spec.nodeName, endless=True, port_forward=request)
