"""Which certificate speaks for a node: the one that its Node was registered with, while that is.

A Node's annotation says the serial number of that certificate. Whoever deletes the Node ends its
machine's rights, and a certificate that has registered a Node once registers no other: its number
stays allocated. A machine comes back by joining anew.
"""

from __future__ import annotations

import msgspec

from common.security.csr import NODE_CERTIFICATE
from common.security.identity import Identity
from master.apiserver.auth.authorizer import node_name
from master.storage.entry import Entry
from master.storage.watchcache import WatchCache

REJOIN = "remove node-pki from the kubelet's data directory and start it with a new join token"


class _Metadata(msgspec.Struct):
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class _Node(msgspec.Struct):
    metadata: _Metadata


class NodeTrust:
    """Answers from the watch cache."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._known: dict[str, tuple[int, str]] = {}

    def is_registered(self, name: str) -> bool:
        """Whether there is a Node of that name."""
        return self._cache.find("nodes", name) is not None

    def problem(self, identity: Identity) -> str:
        """Why a node is not to be trusted with its name; '' for one that is, and for others."""
        name = node_name(identity)
        if name is None:
            return ""
        entry = self._cache.find("nodes", name)
        if entry is None:
            self._known.pop(name, None)
            return f"there is no Node {name}: its machine has not registered, or it was deleted"
        serial = self._serial(entry)
        if serial and serial != identity.serial:
            return f"Node {name} belongs to another certificate; to take it over, {REJOIN}"
        return ""

    def _serial(self, entry: Entry) -> str:
        """The number that a Node says, read once for each state of it."""
        known = self._known.get(entry.name)
        if known is None or known[0] != entry.revision:
            node = msgspec.json.decode(entry.data, type=_Node)
            known = (entry.revision, node.metadata.annotations.get(NODE_CERTIFICATE, ""))
            self._known[entry.name] = known
        return known[1]
