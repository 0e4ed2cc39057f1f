"""From the rules that are there to the rules that should be: one transaction's commands. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from node.kubeproxy.rules import HOOKS, MAPS, SETS, TABLE, Element, Flow, Piece, base
from node.kubeproxy.table import NodeFacts

Changes = Mapping[str, Piece]
"""The new piece of each service that changes; an empty one for a service that goes."""
_NOTHING = Piece()


@dataclass(slots=True)
class Ruleset:
    """What our table in the kernel holds, by service."""

    pieces: dict[str, Piece] = field(default_factory=dict)
    _owners: dict[Element, dict[str, str]] = field(default_factory=dict)
    """Who needs an element, and with which verdict. Several may: a local endpoint of two
    services, or an external IP and port that users gave to two."""

    def plan(self, changes: Changes) -> list[str]:
        """The commands that lead to `changes`, as small as the changes are."""
        before, after = _union(self, changes), _union_of(changes)
        gone, new = self._element_changes(changes)
        chains = {n: r for n, r in after.chains.items() if before.chains.get(n) != r}
        old_chains = [name for name in before.chains if name not in after.chains]
        old_sets = [name for name in before.sets if name not in after.sets]
        return [
            *(_add_set(name, text) for name, text in after.sets.items() if name not in before.sets),
            *(f"add chain {TABLE} {name}" for name in chains if name not in before.chains),
            *_elements("delete", gone),
            *_chains(chains, before.chains),
            *_elements("add", new),
            *(f"flush chain {TABLE} {name}" for name in old_chains),
            *(f"delete chain {TABLE} {name}" for name in old_chains),
            *(f"delete set {TABLE} {name}" for name in old_sets),
        ]

    def _element_changes(self, changes: Changes) -> tuple[dict[Element, str], dict[Element, str]]:
        """Elements that go, and those that come; one of several services has its first's verdict.

        Their keys alone name those that go: nft compares no verdicts.
        """
        old = {e for key in changes for e in self.pieces.get(key, _NOTHING).elements}
        touched = old.union(*(piece.elements for piece in changes.values()))
        gone, new = {}, {}
        for element in sorted(touched):
            owners = self._owners.get(element, {})
            later = {key: verdict for key, verdict in owners.items() if key not in changes}
            later |= {k: p.elements[element] for k, p in changes.items() if element in p.elements}
            was, will = _verdict(owners), _verdict(later)
            if was is not None and was != will:
                gone[element] = was
            if will is not None and was != will:
                new[element] = will
        return gone, new

    def stale(self, changes: Changes) -> list[Flow]:
        """UDP flows whose endpoint is no longer one: the kernel would send them on to it."""
        flows = []
        for key, new in changes.items():
            old = self.pieces.get(key, _NOTHING)
            flows += sorted(old.flows - new.flows, key=_order)
        return flows

    def leftovers(self, tracked: Iterable[Flow], node: NodeFacts) -> list[Flow]:
        """Of the UDP flows in the kernel, those to services that lead to no endpoint of theirs.

        It went, or the flow began, while nobody kept the rules. Addresses and ports that no
        service has any more are not known as ours.
        """
        wanted = {flow for piece in self.pieces.values() for flow in piece.flows}
        places, without = {(flow.address, flow.port) for flow in wanted}, []
        for flow in sorted(tracked, key=_order):
            names = {flow}
            if flow.address in node.addresses:
                names.add(replace(flow, address=""))
            ours = any((name.address, name.port) in places for name in names)
            if ours and wanted.isdisjoint(names):
                without.append(flow)
        return without

    def commit(self, changes: Changes) -> None:
        """The commands of `plan(changes)` were carried out."""
        for key, new in changes.items():
            for element in self.pieces.pop(key, _NOTHING).elements:
                owners = self._owners[element]
                del owners[key]
                if not owners:
                    del self._owners[element]
            for element, verdict in new.elements.items():
                self._owners.setdefault(element, {})[key] = verdict
            if new.chains or new.elements:
                self.pieces[key] = new

    def reload(
        self, node: NodeFacts, chains: Iterable[str] = (), sets: Iterable[str] = ()
    ) -> Iterator[str]:
        """The commands that make everything anew in one transaction, whatever is there.

        `chains` and `sets` are the names in our table now: what of them is not wanted goes. Sets
        of clients that are still wanted keep what is in them.
        """
        whole = _union_of(self.pieces)
        old_chains = sorted(set(chains) - set(whole.chains) - set(HOOKS))
        old_sets = sorted(set(sets) - set(whole.sets) - set(SETS) - set(MAPS))
        yield f"add table {TABLE}"
        yield from (f"add map {TABLE} {name} {{ {text}; }}" for name, text in MAPS.items())
        yield from (f"add set {TABLE} {name} {{ {text}; }}" for name, text in SETS.items())
        yield from (_add_set(name, text) for name, text in whole.sets.items())
        yield from (_add_chain(name, text) for name, text in HOOKS.items())
        yield from (f"add chain {TABLE} {name}" for name in whole.chains)
        yield from (f"flush map {TABLE} {name}" for name in MAPS)
        yield from (f"flush set {TABLE} {name}" for name in SETS)
        yield from (f"flush chain {TABLE} {name}" for name in old_chains)
        yield from _chains(base(node), base(node))
        yield from _chains(whole.chains, whole.chains)
        yield from _elements("add", {e: owners[min(owners)] for e, owners in self._owners.items()})
        yield from (f"delete chain {TABLE} {name}" for name in old_chains)
        yield from (f"delete set {TABLE} {name}" for name in old_sets)


def _order(flow: Flow) -> tuple[str, int, str]:
    return flow.address, flow.port, flow.endpoint


def _union(ruleset: Ruleset, keys: Iterable[str]) -> Piece:
    return _union_of({key: ruleset.pieces.get(key, _NOTHING) for key in keys})


def _union_of(pieces: Mapping[str, Piece]) -> Piece:
    """The chains and sets of several services as one piece."""
    whole = Piece()
    for one in pieces.values():
        whole.chains |= one.chains
        whole.sets |= one.sets
    return whole


def _verdict(owners: Mapping[str, str]) -> str | None:
    return owners[min(owners)] if owners else None


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
