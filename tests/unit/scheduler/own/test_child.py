"""What a scheduler file may say, and the words for what it must not."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from master.scheduler.own.child import BOTH, NOTHING, Node, Nodes, OwnError, OwnFile, Pod, over_time

EXAMPLES = Path(__file__).resolve().parents[4] / "deploy/examples/schedulers"


def pod(**more: Any) -> Pod:
    """A pod with 1 core."""
    plain = {"labels": {}, "priority": 0, "owner": "", "node_selector": {}}
    return Pod(**plain | {"namespace": "default", "name": "p", "uid": "u"} | more)


def node(name: str, free: int = 4000, *, same: int = 0, **labels: str) -> Node:
    """A node with 4 cores and 8 GiB."""
    allocatable = {"cpu": 4000, "memory": 8 << 30}
    return Node(name, labels, [], allocatable, allocatable | {"cpu": free}, same)


def ask(path: Path, *nodes: Node, **labels: str) -> dict[str, Any]:
    """The answer of a file."""
    wanted = pod(labels=labels, requests={"cpu": 1000, "memory": 1 << 30})
    return OwnFile(str(path)).answer(wanted, Nodes(nodes))


def test_the_plugins_of_the_examples() -> None:
    path = EXAMPLES / "plugins.py"
    nodes = (node("n1", 3000), node("n2", 1000), node("n3", customer="x"))
    other = "node(s) belonged to another customer"
    assert ask(path, *nodes, kind="batch") == {
        "reasons": ["", "", other],
        "scores": [125.0, 375.0, 0.0],
    }
    assert ask(path, *nodes, customer="x")["reasons"] == [other, other, ""]


def test_the_columns_of_the_examples() -> None:
    path = EXAMPLES / "columns.py"
    full = Node("n3", {}, [], {"memory": 8 << 30}, {"memory": 3 << 29}, 0)
    assert ask(path, node("n1"), node("n2", disk="fast"), full) == {
        "reasons": ["", "", "node(s) had to keep memory in reserve"],
        "scores": [0.0, 300.0, 0.0],
    }


def test_the_algorithm_of_the_examples() -> None:
    path = EXAMPLES / "algorithm.py"
    assert ask(path, node("n1", 4000), node("n2", 2000), node("n3", 1000, same=1)) == {
        "reasons": ["", "", ""],
        "node": "n2",
    }


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scheduler.py"
    path.write_text(dedent(text))
    return path


def test_an_algorithm_chooses_among_what_its_filter_leaves(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        def filter(pod, node):
            return "no" if node.name == "n1" else ""
        def schedule(pod, nodes):
            return nodes.names[0] if len(nodes) > 1 else None
        """,
    )
    assert ask(path, node("n1"), node("n2"), node("n3")) == {
        "reasons": ["no", "", ""],
        "node": "n2",
    }
    assert ask(path, node("n1"), node("n2"))["node"] == ""
    assert ask(path, node("n1"))["node"] == ""


def test_all_plugins_of_a_file_add_up(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        def score(pod, node):
            return 1
        class A:
            weight = 2.5
            def filter(self, pod, node):
                return "first" if node.name == "n1" else ""
            def score(self, pod, node):
                return 10
        class B:
            def filter(self, pod, node):
                return "second" if node.name == "n1" else ""
            def score_columns(self, pod, nodes):
                return nodes.free("cpu") // 100
        class Nothing:
            pass
        """,
    )
    assert ask(path, node("n1"), node("n2", 3000)) == {
        "reasons": ["first", ""],
        "scores": [0.0, 1 + 25 + 30],
    }


NO_NUMBER = "not a number from 0 to 100"
# (the file, the words after its path)
WRONG: list[tuple[str, str]] = [
    ("def score(pod node):\n    return 1", ", line 1: SyntaxError: invalid syntax"),
    ("\x00", ": SyntaxError: source code string cannot contain null bytes"),
    ("import nonsense_module", ", line 1: ModuleNotFoundError: No module named 'nonsense_module'"),
    ("x = 1", f": {NOTHING}"),
    ("def schedule(p, n): pass\ndef score(p, n): pass", f": {BOTH}"),
    ("weight = 'a'\ndef score(p, n): return 1", ": weight is 'a', not a number from 0"),
    (
        "class A:\n    def __init__(self, x): pass\n    def score(s, p, n): return 1",
        ", in A: TypeError: A.__init__() missing 1 required positional argument: 'x'",
    ),
    (
        "\ndef score(p, n):\n    return 1 / 0",
        ", line 3, in score: ZeroDivisionError: division by zero",
    ),
    (
        "def score(p, n):\n    return help(n)\ndef help(n):\n    return n.what",
        ", line 4, in help: AttributeError: 'Node' object has no attribute 'what'",
    ),
    ("def filter(p, n):\n    raise SystemExit", ", line 2, in filter: SystemExit"),
    (
        "def filter(p): pass",
        ", line 1, in filter: TypeError: filter() takes 1 positional argument but 2 were given",
    ),
    (
        "def filter(p, n): pass",
        ", line 1, in filter: returned None for node n1, not a reason or ''",
    ),
    (
        "def score(p, n):\n    return 'x'",
        f", line 1, in score: returned 'x' for node n1, {NO_NUMBER}",
    ),
    (
        "def score(p, n):\n    return float('nan')",
        f", line 1, in score: returned nan for node n1, {NO_NUMBER}",
    ),
    (
        "def score(p, n):\n    return 101",
        f", line 1, in score: returned 101 for node n1, {NO_NUMBER}",
    ),
    (
        "def score(p, n):\n    return True",
        f", line 1, in score: returned True for node n1, {NO_NUMBER}",
    ),
    (
        "def score_columns(p, n):\n    return [1]",
        ", line 1, in score_columns: returned 1 values for 2 nodes",
    ),
    (
        "def score_columns(p, n):\n    return 1",
        ", line 1, in score_columns: returned 1 for 2 nodes",
    ),
    (
        "def score_columns(p, n):\n    return [1, float('inf')]",
        f", line 1, in score_columns: returned inf for node n2, {NO_NUMBER}",
    ),
    (
        "def filter_columns(p, n):\n    return [True, False]",
        ", line 1, in filter_columns: returned [True, False], not {reason: array of bool}",
    ),
    (
        "def filter_columns(p, n):\n    return {'a': n.free('cpu')}",
        ", line 1, in filter_columns: returned an array of int64, not of bool",
    ),
    (
        "def schedule(p, n):\n    return 'n9'",
        ", line 1, in schedule: returned 'n9', which is not the name of a node that it may choose",
    ),
    (
        "def schedule(p, n):\n    return 3",
        ", line 1, in schedule: returned 3, which is not the name of a node that it may choose",
    ),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "scheduler.py"
    path.write_text(text)
    with pytest.raises(OwnError) as caught:
        ask(path, node("n1"), node("n2"))
    assert str(caught.value) == f"{path}{words}"


def test_no_file(tmp_path: Path) -> None:
    path = str(tmp_path / "gone.py")
    with pytest.raises(OwnError) as caught:
        OwnFile(path)
    assert str(caught.value) == f"cannot read {path}: no such file or directory"


def test_where_it_took_too_long(tmp_path: Path) -> None:
    path = write(tmp_path, "import sys\ndef where():\n    return sys._getframe()\nhere = where()")
    made: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), made)
    text = over_time(str(path), made["here"], 0.5)
    assert text == f"{path}, line 3, in where: took longer than 0.5 s"
    assert over_time(str(path), sys._getframe(), 2) == f"{path}: took longer than 2 s"
