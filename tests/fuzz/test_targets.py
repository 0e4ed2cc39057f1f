"""A short run of every pure target with a fixed seed; see tests/fuzz/__main__.py for a long one."""

from __future__ import annotations

import pytest

from tests.fuzz.grammar import Grammar
from tests.fuzz.targets import TARGETS, sample

INPUTS = 400


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_does_harm(name: str) -> None:
    grammar = Grammar(20_261_129)
    for _ in range(INPUTS):
        TARGETS[name](sample(name, grammar))
