"""Tables of `wherry get`."""

from __future__ import annotations

from typing import Any

import pytest

from common.cli.get import lines


def table() -> dict[str, Any]:
    """Two columns for everybody and one for -o wide."""
    columns = [
        {"name": "Name", "priority": 0},
        {"name": "Status", "priority": 0},
        {"name": "IP", "priority": 1},
    ]
    rows = [
        {"cells": ["a", "Running", "10.0.0.1"], "object": {"metadata": {"namespace": "x"}}},
        {"cells": ["longer", "Bad\x1b[2J", None], "object": {"metadata": {"namespace": "y"}}},
    ]
    return {"columnDefinitions": columns, "rows": rows}


def test_columns_are_aligned() -> None:
    """Columns start below each other; nothing in a cell steers the terminal."""
    assert lines(table(), wide=False, namespaces=False) == [
        "NAME     STATUS",
        "a        Running",
        "longer   Bad?[2J",
    ]


def test_wide_and_namespaces() -> None:
    """-o wide shows columns of lower priority, -A the namespace."""
    found = [line.split() for line in lines(table(), wide=True, namespaces=True)]
    assert found[0] == ["NAMESPACE", "NAME", "STATUS", "IP"]
    assert found[1] == ["x", "a", "Running", "10.0.0.1"]
    assert found[2][-1] == "<none>"


@pytest.mark.parametrize(
    ("status", "colour"),
    [
        ("Running", 32),
        ("Ready", 32),
        ("Init:0/2", 33),
        ("Ready,SchedulingDisabled", 33),
        ("NotReady", 31),
        ("Init:Error", 31),
        ("CrashLoopBackOff", 31),
    ],
)
def test_a_person_sees_by_the_colour_what_is_not_well(status: str, colour: int) -> None:
    one = table()
    one["rows"][0]["cells"][1] = status
    plain = lines(one, wide=True, namespaces=False)
    coloured = lines(one, wide=True, namespaces=False, colours=True)
    assert coloured[0] == plain[0]
    assert coloured[1] == plain[1].replace(status, f"\033[{colour}m{status}\033[0m")
