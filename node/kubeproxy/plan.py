"""From the rules that are there to the rules that should be: one transaction's commands. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from node.kubeproxy.rules import HOOKS, MAPS, SETS, SHARED, TABLE, Element, Flow, Piece, base
from node.kubeproxy.table import NodeFacts

Changes = Mapping[str, Piece]
"""The new piece of each service that changes; an empty one for a service that goes."""
_NOTHING = Piece()


@dataclass(slots=True)
class Ruleset:
    """What our table in the kernel holds, by service."""

    pieces: dict[str, Piece] = field(default_factory=dict)
    _shared: Counter[Element] = field(default_factory=Counter)

    def plan(self, changes: Changes) -> list[str]:
        """The commands that lead to `changes`, as small as the changes are."""
        before, after = _union(self, changes), _union_of(changes)
        added, removed = self._shared_changes(changes)
        gone = {e: v for e, v in before.elements.items() if after.elements.get(e) != v}
        new = {e: v for e, v in after.elements.items() if before.elements.get(e) != v}
        chains = {n: r for n, r in after.chains.items() if before.chains.get(n) != r}
        old_chains = [name for name in before.chains if name not in after.chains]
        old_sets = [name for name in before.sets if name not in after.sets]
        return [
            *(_add_set(name, text) for name, text in after.sets.items() if name not in before.sets),
            *(f"add chain {TABLE} {name}" for name in chains if name not in before.chains),
            *_elements("delete", {**gone, **dict.fromkeys(removed, "")}),
            *_chains(chains, before.chains),
            *_elements("add", {**new, **dict.fromkeys(added, "")}),
            *(f"flush chain {TABLE} {name}" for name in old_chains),
            *(f"delete chain {TABLE} {name}" for name in old_chains),
            *(f"delete set {TABLE} {name}" for name in old_sets),
        ]

    def _shared_changes(self, changes: Changes) -> tuple[list[Element], list[Element]]:
        """Elements of shared sets that are needed from now on, and those that no longer are."""
        delta: Counter[Element] = Counter()
        for key, new in changes.items():
            delta.subtract(e for e in self.pieces.get(key, _NOTHING).elements if e[0] in SHARED)
            delta.update(e for e in new.elements if e[0] in SHARED)
        added = [e for e, n in delta.items() if n > 0 and not self._shared[e]]
        removed = [e for e, n in delta.items() if n < 0 and self._shared[e] + n == 0]
        return added, removed

    def stale(self, changes: Changes) -> list[Flow]:
        """UDP flows whose endpoint is no longer one: the kernel would send them on to it."""
        found = []
        for key, new in changes.items():
            old = self.pieces.get(key, _NOTHING)
            found += sorted(old.flows - new.flows, key=lambda f: (f.address, f.port, f.endpoint))
        return found

    def commit(self, changes: Changes) -> None:
        """The commands of `plan(changes)` were carried out."""
        for key, new in changes.items():
            old = self.pieces.pop(key, _NOTHING)
            self._shared.subtract(e for e in old.elements if e[0] in SHARED)
            self._shared.update(e for e in new.elements if e[0] in SHARED)
            if new.chains or new.elements:
                self.pieces[key] = new
        self._shared = +self._shared

    def reload(
        self, node: NodeFacts, chains: Iterable[str] = (), sets: Iterable[str] = ()
    ) -> list[str]:
        """The commands that make everything anew in one transaction, whatever is there.

        `chains` and `sets` are the names in our table now: what of them is not wanted goes. Sets
        of clients that are still wanted keep what is in them.
        """
        whole = _union_of(self.pieces)
        old_chains = sorted(set(chains) - set(whole.chains) - set(HOOKS))
        old_sets = sorted(set(sets) - set(whole.sets) - set(SETS) - set(MAPS))
        return [
            f"add table {TABLE}",
            *(f"add map {TABLE} {name} {{ {text}; }}" for name, text in MAPS.items()),
            *(f"add set {TABLE} {name} {{ {text}; }}" for name, text in SETS.items()),
            *(_add_set(name, text) for name, text in whole.sets.items()),
            *(_add_chain(name, text) for name, text in HOOKS.items()),
            *(f"add chain {TABLE} {name}" for name in whole.chains),
            *(f"flush map {TABLE} {name}" for name in MAPS),
            *(f"flush set {TABLE} {name}" for name in SETS),
            *(f"flush chain {TABLE} {name}" for name in old_chains),
            *_chains(base(node), base(node)),
            *_chains(whole.chains, whole.chains),
            *_elements("add", {**whole.elements, **dict.fromkeys(self._shared, "")}),
            *(f"delete chain {TABLE} {name}" for name in old_chains),
            *(f"delete set {TABLE} {name}" for name in old_sets),
        ]


def _union(ruleset: Ruleset, keys: Iterable[str]) -> Piece:
    return _union_of({key: ruleset.pieces.get(key, _NOTHING) for key in keys})


def _union_of(pieces: Mapping[str, Piece]) -> Piece:
    """Several services' pieces as one, without the elements that services share."""
    whole = Piece()
    for one in pieces.values():
        whole.chains |= one.chains
        whole.sets |= one.sets
        whole.elements |= {e: v for e, v in one.elements.items() if e[0] not in SHARED}
    return whole


def _add_set(name: str, text: str) -> str:
    return f"add set {TABLE} {name} {{ {text} }}"


def _add_chain(name: str, hook: str) -> str:
    return f"add chain {TABLE} {name}" + (f" {{ {hook} }}" if hook else "")


def _chains(wanted: Mapping[str, tuple[str, ...]], there: Mapping[str, object]) -> Iterator[str]:
    """Give chains their rules; those that are there are emptied first."""
    for name, rules in wanted.items():
        if name in there:
            yield f"flush chain {TABLE} {name}"
        for rule in rules:
            yield f"add rule {TABLE} {name} {rule}"


def _elements(verb: str, elements: Mapping[Element, str]) -> Iterator[str]:
    """One command a map or set, with all of its elements."""
    by_name: dict[str, list[str]] = {}
    for (name, key), verdict in elements.items():
        by_name.setdefault(name, []).append(f"{key} : {verdict}" if verdict else key)
    for name, members in by_name.items():
        yield f"{verb} element {TABLE} {name} {{ {', '.join(members)} }}"
