"""`wherry version`: parts of one version, and parts that are not."""

from __future__ import annotations

from typing import Any

from common.cli.versions import lines


def node(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"nodeInfo": {"kubeletVersion": version}}}


def test_who_is_of_another_version_is_named() -> None:
    nodes = [
        node("n1", "v1.36.0+wherry.0.2.0"),
        node("n2", "v1.36.0+wherry.0.1.0"),
        node("kwok", "v1.35.1"),
        {"metadata": {"name": "new"}},
    ]
    assert list(lines({"gitVersion": "v1.36.0+wherry.0.2.0"}, nodes)) == [
        "master 0.2.0 (Kubernetes v1.36.0)",
        "node n1 0.2.0",
        "node n2 0.1.0, unlike the master",
        "node kwok v1.35.1, unlike the master",
        "node new unknown, unlike the master",
    ]
