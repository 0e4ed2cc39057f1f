"""nodes/NAME/images: images for a node that come from no registry.

Kubernetes has no such subresource, and no default role but the administrators' has the right to it:
whoever puts images on a node decides what its pods run.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from master.apiserver.registry.duplex import ArchiveHandler, Load
from master.apiserver.registry.stored import Stored
from master.apiserver.request.target import Target
from master.nodes.session import Session
from master.nodes.sessions import NodeSessions
from protos import node_v1_pb2


class NodeImages(ArchiveHandler):
    """Archives go through a session of the node."""

    def __init__(self, stored: Stored, sessions: NodeSessions) -> None:
        self._stored = stored
        self._sessions = sessions

    async def archive(self, target: Target) -> Load:
        """For a node that exists."""
        await self._stored.get(Target(target.resource, "", target.name))

        def load(size_bytes: int) -> AbstractAsyncContextManager[Session]:
            wanted = node_v1_pb2.LoadImageRequest(size_bytes=size_bytes)
            return self._sessions.session(target.name, endless=True, load_image=wanted)

        return load
