"""Which certificates still count: none that has expired or whose authority is trusted no longer, as
a connection may outlive both; and of a node's that of its Node.

A Node's annotation says the serial number of the certificate that it was registered with, another
one that of a certificate that was made to replace it. Whoever deletes the Node ends its machine's
rights, and a certificate that has registered a Node once registers no other: its number stays
allocated. A machine comes back by joining anew. A kubeconfig's certificate counts while its Secret
has its number.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from common.runtime.clock import Clock
from common.security.csr import NEXT_CERTIFICATE, NODE_CERTIFICATE, REVOKED
from common.security.identity import Identity
from common.security.kubeconfigs import GROUP as KUBECONFIGS
from common.security.kubeconfigs import NAME_PREFIX, NAMESPACE, SERIAL
from master.apiserver.auth.authorizers.node import node_name
from master.storage.entry import Entry
from master.storage.watchcache import WatchCache

REJOIN = "put a new join token where the kubelet's token-file setting says"


class _Metadata(msgspec.Struct):
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class _NodeInfo(msgspec.Struct):
    machineID: str = ""


class _Status(msgspec.Struct):
    nodeInfo: _NodeInfo = msgspec.field(default_factory=_NodeInfo)


class _Node(msgspec.Struct):
    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)


class _Record(msgspec.Struct):
    data: dict[str, str] = msgspec.field(default_factory=dict)


class _Known(NamedTuple):
    """The certificates of a Node, and the id of its machine, as of a revision."""

    revision: int
    present: str
    next: str
    machine_id: str


class Trust:
    """Answers from the watch cache."""

    def __init__(self, cache: WatchCache, clock: Clock, trusts: Callable[[str], bool]) -> None:
        """`trusts` says whether certificates of the authority with that key id count."""
        self._trusts = trusts
        self._cache = cache
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def is_registered(self, name: str) -> bool:
        """Whether there is a Node of that name."""
        return self._cache.find("nodes", name) is not None

    def machine(self, name: str) -> str:
        """The id of a node's machine; '' when it is not known."""
        entry = self._cache.find("nodes", name)
        return self._read(entry).machine_id if entry is not None else ""

    def is_shut_out(self, name: str) -> bool:
        """Whether no certificate counts for a node: it was revoked, or there is no such Node."""
        entry = self._cache.find("nodes", name)
        return entry is None or self._read(entry).present == REVOKED

    def problem(self, identity: Identity) -> str:
        """Why a certificate does not count; '' for one that does, and for tokens."""
        if problem := self.is_over(identity):
            return problem
        if KUBECONFIGS in identity.groups:
            return self._problem_of_kubeconfig(identity)
        name = node_name(identity)
        return self._problem_of_node(name, identity.serial) if name is not None else ""

    def is_over(self, identity: Identity) -> str:
        """Why a certificate counts for nobody any more; '' for one that may count."""
        if identity.expires <= self._clock.now().timestamp():
            return "the certificate has expired"
        if identity.authority and not self._trusts(identity.authority):
            return "the authority that signed the certificate is not trusted any more"
        return ""

    def _problem_of_kubeconfig(self, identity: Identity) -> str:
        entry = self._cache.find("secrets", NAME_PREFIX + identity.user, NAMESPACE)
        if entry is None:
            return f"the kubeconfig {identity.user} was revoked"
        data = msgspec.json.decode(entry.data, type=_Record).data
        if data.get(SERIAL) != base64.b64encode(identity.serial.encode()).decode():
            return f"the kubeconfig {identity.user} was revoked, and made again"
        return ""

    def _problem_of_node(self, name: str, serial: str) -> str:
        entry = self._cache.find("nodes", name)
        if entry is None:
            self._known.pop(name, None)
            return f"there is no Node {name}: its machine has not registered, or it was deleted"
        known = self._read(entry)
        if known.present == REVOKED:
            return f"the certificate of node {name} was revoked; to let it in again, {REJOIN}"
        if known.present and (not serial or serial not in (known.present, known.next)):
            return f"Node {name} belongs to another certificate; to take it over, {REJOIN}"
        return ""

    def _read(self, entry: Entry) -> _Known:
        """What a Node says, read once for each state of it."""
        known = self._known.get(entry.name)
        if known is None or known.revision != entry.revision:
            node = msgspec.json.decode(entry.data, type=_Node)
            said = node.metadata.annotations
            known = self._known[entry.name] = _Known(
                entry.revision,
                said.get(NODE_CERTIFICATE, ""),
                said.get(NEXT_CERTIFICATE, ""),
                node.status.nodeInfo.machineID,
            )
        return known
