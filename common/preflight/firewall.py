"""Which chains of nftables refuse what no rule of theirs allows. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

HOOKS = ("input", "forward")
REFUSALS = ("drop", "reject")
HARMLESS = frozenset({"counter", "log", "comment", *REFUSALS})


def refusing(ruleset: str) -> list[str]:
    """The chains, named for a person, from what `nft -j list ruleset` prints."""
    entries = json.loads(ruleset or "{}").get("nftables", [])
    chains = [entry["chain"] for entry in entries if "chain" in entry]
    rules = [entry["rule"] for entry in entries if "rule" in entry]
    return [
        f"nftables' chain {chain['name']} of table {chain['family']} {chain['table']}"
        for chain in chains
        if chain.get("hook") in HOOKS
        and not chain["table"].startswith("wherry-")
        and (chain.get("policy") == "drop" or any(_refuses_all(r) for r in _of(chain, rules)))
    ]


def _of(chain: Mapping[str, Any], rules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    place = (chain["family"], chain["table"], chain["name"])
    return (r for r in rules if (r["family"], r["table"], r["chain"]) == place)


def _refuses_all(rule: Mapping[str, Any]) -> bool:
    """Whether it refuses without looking at the packet."""
    words = {word for expression in rule.get("expr", ()) for word in expression}
    return words <= HARMLESS and not words.isdisjoint(REFUSALS)
