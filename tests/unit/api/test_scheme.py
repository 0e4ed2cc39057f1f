"""Resources by their names."""

from __future__ import annotations

import pytest

from common.api.scheme import SCHEME


def test_what_the_program_names_is_there_or_said() -> None:
    assert SCHEME.require("apps", "v1", "deployments") is SCHEME.find("deploy")
    with pytest.raises(LookupError, match="no resource pod in core/v1"):
        SCHEME.require("", "v1", "pod")


@pytest.mark.parametrize("word", ["nodes", "Node", "no", "node", "nodes.metrics.k8s.io"])
def test_a_person_may_say_any_of_its_names(word: str) -> None:
    found = SCHEME.find(word)
    assert found is not None
    assert found.group == word.partition(".")[2]
