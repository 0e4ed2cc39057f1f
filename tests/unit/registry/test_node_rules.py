"""Rules of nodes that a user makes or changes."""

from __future__ import annotations

from tests.unit.registry.conftest import Writer


def test_taints_have_effects_that_exist(writer: Writer) -> None:
    taints = [{"key": "a", "effect": "Nope"}, {"key": "b"}]
    body = {"metadata": {"name": "n"}, "spec": {"taints": taints}}
    assert writer.create_problems("nodes", body) == [
        'spec.taints[0].effect: Unsupported value: "Nope": supported values: "NoSchedule", '
        '"PreferNoSchedule", "NoExecute"',
        "spec.taints[1].effect: Required value",
    ]


def test_pod_addresses_are_blocks(writer: Writer) -> None:
    body = {"metadata": {"name": "n"}, "spec": {"podCIDR": "abc"}}
    assert writer.create_problems("nodes", body) == [
        'spec.podCIDRs[0]: Invalid value: "abc": must be a valid CIDR value, (e.g. 10.9.8.0/24 or '
        "2001:db8::/64)"
    ]
    assert writer.create_problems("nodes", {**body, "spec": {"podCIDR": "10.1.2.0/24"}}) == []
