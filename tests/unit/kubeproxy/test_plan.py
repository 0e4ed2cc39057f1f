"""Plans, carried out by a small interpreter of nft that is as strict as the kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.kubeproxy.plan import Ruleset
from node.kubeproxy.rules import TABLE, Flow, Piece, piece
from node.kubeproxy.table import Table
from tests.unit.kubeproxy.objects import FACTS, NODE_IP, endpoint, endpoint_slice, service

_COMMAND = re.compile(rf"(\w+) (\w+) {TABLE}(?: ([\w.]+))?(?: (.*))?")


@dataclass
class Kernel:
    """The table: chains with rules, sets and maps with elements."""

    chains: dict[str, list[str]] = field(default_factory=dict)
    elements: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, commands: list[str]) -> None:
        """Carry out a transaction; KeyError or AssertionError where the kernel would refuse it."""
        for command in commands:
            found = _COMMAND.fullmatch(command)
            assert found, command
            verb, kind, name, rest = found.groups(default="")
            if kind != "table":
                getattr(self, f"_{verb}_{'set' if kind == 'map' else kind}")(name, rest)
        used = set(re.findall(r"(?:goto|jump) ([\w.]+)", str(self)))
        assert used <= self.chains.keys()
        assert set(re.findall(r"@([\w.]+)", str(self.chains))) <= self.elements.keys()

    def _add_chain(self, name: str, _: str) -> None:
        self.chains.setdefault(name, [])

    def _flush_chain(self, name: str, _: str) -> None:
        self.chains[name].clear()

    def _delete_chain(self, name: str, _: str) -> None:
        del self.chains[name]
        assert not re.search(rf"(goto|jump) {re.escape(name)}\b", str(self)), f"{name} is in use"

    def _add_rule(self, name: str, rule: str) -> None:
        self.chains[name].append(rule)

    def _add_set(self, name: str, _: str) -> None:
        self.elements.setdefault(name, {})

    def _flush_set(self, name: str, _: str) -> None:
        self.elements[name].clear()

    def _delete_set(self, name: str, _: str) -> None:
        del self.elements[name]

    def _add_element(self, name: str, text: str) -> None:
        for key, verdict in _parse(text):
            assert self.elements[name].setdefault(key, verdict) == verdict, f"{key} is there"

    def _delete_element(self, name: str, text: str) -> None:
        for key, _ in _parse(text):
            del self.elements[name][key]


def _parse(text: str) -> list[tuple[str, str]]:
    pairs = [one.partition(" : ") for one in text.strip("{} ").split(", ")]
    return [(key, verdict) for key, _, verdict in pairs]


def a_piece(
    name: str = "a",
    backends: tuple[int, ...] = (2, 3),
    *,
    protocol: str = "TCP",
    **spec: object,
) -> Piece:
    """The rules of a service; backends with even numbers are on this node."""
    table = Table(FACTS)
    port = {"port": 80, "protocol": protocol, "nodePort": spec.pop("nodePort", 0)}
    spec.setdefault("clusterIP", f"10.43.0.{ord(name)}")
    table.put_service(f"default/{name}", service(name, ports=(port,), **spec))  # type: ignore[arg-type]
    ends = [endpoint(f"10.42.1.{n}", "n1" if n % 2 == 0 else "n2") for n in backends]
    ports = ({"port": 8080, "protocol": protocol},)
    table.put_slice(f"default/{name}-1", endpoint_slice(*ends, name=name, ports=ports))
    return piece(table.ports(f"default/{name}"), FACTS)


def fresh(pieces: dict[str, Piece]) -> Kernel:
    """What a new process loads."""
    ruleset, kernel = Ruleset(), Kernel()
    ruleset.commit(pieces)
    kernel.run(ruleset.reload(FACTS))
    return kernel


@st.composite
def states(draw: st.DrawFn) -> dict[str, Piece]:
    """Up to four services, which may contend for a node port and an external IP."""
    made = {}
    for name in draw(st.sets(st.sampled_from("abcd"))):
        policy = st.sampled_from(("Cluster", "Local"))
        made[name] = a_piece(
            name,
            tuple(draw(st.sets(st.integers(2, 6)))),
            protocol=draw(st.sampled_from(("TCP", "UDP"))),
            nodePort=draw(st.sampled_from((0, 30080))),
            externalIPs=draw(st.sampled_from(((), ("198.51.100.7",)))),
            sessionAffinity=draw(st.sampled_from(("None", "ClientIP"))),
            externalTrafficPolicy=draw(policy),
            internalTrafficPolicy=draw(policy),
        )
    return made


@given(st.lists(states(), max_size=4))
def test_changes_lead_to_what_a_fresh_load_makes(steps: list[dict[str, Piece]]) -> None:
    ruleset, kernel = Ruleset(), fresh({})
    for wanted in steps:
        changes = dict.fromkeys(ruleset.pieces.keys() - wanted.keys(), Piece()) | wanted
        kernel.run(ruleset.plan(changes))
        ruleset.commit(changes)
        assert kernel == fresh(wanted)
        assert ruleset.plan(wanted) == []


@given(states(), states())
def test_a_load_over_any_rules_is_a_fresh_one(
    before: dict[str, Piece], wanted: dict[str, Piece]
) -> None:
    kernel, ruleset = fresh(before), Ruleset()
    ruleset.commit(wanted)
    kernel.run(ruleset.reload(FACTS, list(kernel.chains), list(kernel.elements)))
    assert kernel == fresh(wanted)


def test_a_change_touches_only_its_service() -> None:
    pieces = {name: a_piece(name) for name in "abc"}
    ruleset = Ruleset()
    ruleset.commit(pieces)
    commands = ruleset.plan({"b": a_piece("b", (2, 3, 4))})
    touched = {c.split()[4] for c in commands if c.split()[1] in ("chain", "rule")}
    assert touched == set(pieces["b"].chains)


def test_clients_are_remembered_across_changes_and_loads() -> None:
    old = a_piece(sessionAffinity="ClientIP")
    kernel, ruleset = fresh({"a": old}), Ruleset()
    for name in old.sets:
        kernel.elements[name]["10.42.9.9"] = ""
    ruleset.commit({"a": old})
    new = a_piece(backends=(3, 4), sessionAffinity="ClientIP")
    kernel.run(ruleset.plan({"a": new}))
    ruleset.commit({"a": new})
    kernel.run(ruleset.reload(FACTS, list(kernel.chains), list(kernel.elements)))
    (kept,) = old.sets.keys() & new.sets.keys()
    assert kernel.elements[kept] == {"10.42.9.9": ""}
    assert not (old.sets.keys() - {kept}) & kernel.elements.keys()


def test_flows_to_a_vanished_udp_endpoint_are_stale() -> None:
    ruleset = Ruleset()
    ruleset.commit({"a": a_piece(protocol="UDP", nodePort=30053)})
    left = {"a": a_piece(backends=(3,), protocol="UDP", nodePort=30053)}
    assert set(ruleset.stale(left)) == {
        Flow("10.43.0.97", 80, "10.42.1.2"),
        Flow("", 30053, "10.42.1.2"),
    }
    ruleset.commit(left)
    assert ruleset.stale(left) == []


@pytest.mark.parametrize(
    ("tracked", "left"),
    [
        (Flow("10.43.0.97", 80, "10.42.1.2"), False),
        (Flow("10.43.0.97", 80, "10.42.1.9"), True),
        (Flow("10.43.0.97", 80, "10.43.0.97"), True),  # it began before there were rules
        (Flow("10.43.0.97", 81, "10.42.1.9"), False),
        (Flow(NODE_IP, 30053, "10.42.1.2"), False),
        (Flow(NODE_IP, 30053, "10.42.1.9"), True),
        (Flow("192.0.2.99", 30053, "10.42.1.9"), False),  # not a port of this node
        (Flow(NODE_IP, 53, NODE_IP), False),
        (Flow("198.51.100.7", 80, "10.42.1.3"), False),
        (Flow("198.51.100.7", 80, "10.42.1.9"), True),
        (Flow("10.43.0.98", 80, "10.42.1.2"), True),  # of a service without endpoints
        (Flow("9.9.9.9", 53, "9.9.9.9"), False),
    ],
)
def test_a_tracked_flow_is_left_over_when_its_endpoint_is_none(tracked: Flow, left: bool) -> None:
    ruleset = Ruleset()
    udp = a_piece(protocol="UDP", nodePort=30053, externalIPs=("198.51.100.7",))
    ruleset.commit({"a": udp, "b": a_piece("b", (), protocol="UDP")})
    assert ruleset.leftovers([tracked], FACTS) == ([tracked] if left else [])


def test_an_external_ip_may_be_the_nodes_own() -> None:
    ruleset = Ruleset()
    ruleset.commit({"a": a_piece(protocol="UDP", externalIPs=(NODE_IP,))})
    good, gone = Flow(NODE_IP, 80, "10.42.1.2"), Flow(NODE_IP, 80, "10.42.1.9")
    assert ruleset.leftovers([good, gone], FACTS) == [gone]
