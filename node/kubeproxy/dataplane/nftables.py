"""The dataplane in the kernel: one nftables table, one transaction a change."""

from __future__ import annotations

from common.runtime.offload import Offload
from node.kubeproxy.dataplane import conntrack
from node.kubeproxy.dataplane.libnftables import generation, run
from node.kubeproxy.plan import Changes, Ruleset
from node.kubeproxy.rules import TABLE, Flow
from node.kubeproxy.table import NodeFacts


class NftablesDataplane:
    """Our table. `offload` must have one thread: one change after the other."""

    def __init__(self, node: NodeFacts, offload: Offload) -> None:
        self._node = node
        self._offload = offload
        self._ruleset = Ruleset()
        self._generation = 0
        self._stale: set[Flow] = set()
        """Flows to forget once the rules are loaded; a failed load must not lose them."""

    async def reload(self, changes: Changes) -> None:
        """Make everything anew in one transaction. Raises DataplaneError."""
        await self._offload(self._reload_now, changes)

    async def apply(self, changes: Changes) -> None:
        """Change some services in one transaction. Raises DataplaneError."""
        await self._offload(self._apply_now, changes)

    async def is_intact(self) -> bool:
        """Whether the kernel counts no change of rules but ours."""
        return await self._offload(generation) == self._generation

    def _reload_now(self, changes: Changes) -> None:
        self._stale.update(self._ruleset.stale(changes))
        self._ruleset.commit(changes)
        chains, sets = _names("chain"), _names("set")
        run(self._ruleset.reload(self._node, chains, sets))
        self._generation = generation()
        self._stale.update(self._ruleset.leftovers(conntrack.tracked(), self._node))
        conntrack.forget(self._stale)
        self._stale.clear()

    def _apply_now(self, changes: Changes) -> None:
        commands, stale = self._ruleset.plan(changes), self._ruleset.stale(changes)
        if commands:
            before = generation()
            run(commands)
            if before == self._generation:  # else somebody was here before: is_intact must tell
                self._generation += 1
        self._ruleset.commit(changes)
        conntrack.forget(stale)


def _names(kind: str) -> list[str]:
    """The chains or sets that are in our table now."""
    family = TABLE.partition(" ")[0]
    return names_in(TABLE, kind, run([f"list {kind}s {family}"]))


def names_in(table: str, kind: str, listed: str) -> list[str]:
    """The names of one kind of thing in a table, from what nft lists of all tables."""
    names, here = [], False
    for line in listed.splitlines():
        words = line.split()
        if line.startswith("table "):
            here = line == f"table {table} {{"
        elif here and len(words) == 3 and words[0] == kind:
            names.append(words[1])
    return names
