"""Two pods on a node cannot have the same host port.

Source: https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins
"""

from __future__ import annotations

from typing import ClassVar

from master.scheduler.columns import Columns, NodeRow
from master.scheduler.framework import ClusterEvent, NodePlugin
from master.scheduler.pod import PodClass

ANY = "0.0.0.0"  # noqa: S104 - compared, never bound


class NodePorts(NodePlugin):
    """Looks the pod's host ports up among those in use."""

    name: ClassVar[str] = "NodePorts"
    events: ClassVar[frozenset[ClusterEvent]] = frozenset(
        {ClusterEvent.NODE_ADDED, ClusterEvent.POD_REMOVED}
    )

    def concerns(self, pod: PodClass) -> bool:
        """Most pods have no host ports."""
        return bool(pod.ports)

    def reject(self, pod: PodClass, node: NodeRow, columns: Columns) -> str:
        """The same protocol and port, on the same or on all addresses."""
        for address, protocol, port in columns.ports.get(node.row, ()):
            for own_address, own_protocol, own_port in pod.ports:
                same = (protocol, port) == (own_protocol, own_port)
                if same and (address == own_address or ANY in (address, own_address)):
                    return "node(s) didn't have free ports for the requested pod ports"
        return ""
