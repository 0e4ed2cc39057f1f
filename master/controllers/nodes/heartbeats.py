"""When a node was last heard: by its stream, or, if it has none, by what it writes to the API.

A node that another agent runs (a plain kubelet, virtual-kubelet, KWOK) renews its Lease every 10
seconds or posts heartbeats in its status. What counts is when this master sees a change, by its
own clock: the times in there are of another machine's. Source: pkg/controller/nodelifecycle of
Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Container

Silence = Callable[[str], float]
"""For how many seconds nothing has come from a node: since this master started, for one that it
never heard. No date, so that a clock that is set makes no node silent."""
LEASE_EXTRA_SECONDS = 35.0
"""How much longer a node may be silent that writes every 10 seconds instead of sending every 5:
with the grace of 15 seconds for streams, Kubernetes' 50 seconds."""


class NodeHeartbeats:
    """When each node was last heard: streams and writes put together.

    Statuses of a node that has had a stream do not count: this master itself writes them. Its
    Lease nobody writes, so that a renewal means that another agent runs the node now.
    """

    def __init__(
        self, stream: Silence, streamed: Container[str], monotonic: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._streamed = streamed
        self._monotonic = monotonic
        self._written: dict[str, float] = {}

    def renewed(self, node: str) -> None:
        """The node's Lease has been renewed."""
        self._written[node] = self._monotonic()

    def status_heartbeat(self, node: str) -> None:
        """A heartbeat in the node's status has changed."""
        if node not in self._streamed:
            self._written[node] = self._monotonic()

    def forget(self, node: str) -> None:
        """The node is gone."""
        self._written.pop(node, None)

    def silence_seconds(self, node: str) -> float:
        """Silence as it is counted for a stream; below zero while a writer has time left."""
        silence = self._stream(node)
        written = self._written.get(node)
        if written is None:
            return silence
        return min(silence, self._monotonic() - written - LEASE_EXTRA_SECONDS)
