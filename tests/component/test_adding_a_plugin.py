"""docs/adding-a-plugin.md: the plugin of the page, in a cycle with all the others."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

from master.scheduler.columns import Columns
from master.scheduler.cycle import Cycle
from master.scheduler.registry import FILTERS, SCORES
from tests.unit.scheduler.world import node_item, place, pod

PAGE = Path(__file__).resolve().parents[2] / "docs/adding-a-plugin.md"


def plugin_of_the_page() -> ModuleType:
    """The page's code as a module."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module = ModuleType("plugin_of_the_page")
    sys.modules[module.__name__] = module
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    return module


def test_the_page_works() -> None:
    """Small pods stay away from big nodes and are told so; big ones may go there."""
    columns = Columns()
    columns.put_node(node_item("n1", labels={"size": "big"}))
    made = Cycle(columns, (*FILTERS, plugin_of_the_page().BigNodes()), SCORES)
    assert place(made, pod("small")) == (
        "0/1 nodes are available: 1 node(s) were for big pods only."
    )
    assert place(made, pod("large", labels={"big": "yes"})) == "n1"
