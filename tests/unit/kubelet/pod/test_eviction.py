"""emptyDirs that outgrow their limits."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.types.core_v1 import Pod
from node.kubelet.pod import eviction
from tests.fakes.pods import pod

MIB = 1 << 20


def with_volumes(**sources: dict[str, Any]) -> Pod:
    """A pod with volumes of these sources."""
    return pod(volumes=[{"name": name, **source} for name, source in sources.items()])


def test_only_an_empty_dir_on_a_disk_has_a_limit_to_look_after() -> None:
    one = with_volumes(
        disk={"emptyDir": {"sizeLimit": "1Mi"}},
        free={"emptyDir": {}},
        none={"emptyDir": {"sizeLimit": "0"}},
        memory={"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        host={"hostPath": {"path": "/x"}},
    )
    assert eviction.limits(one) == {"disk": MIB}


@pytest.mark.parametrize(
    ("used", "message"),
    [
        ({}, ""),
        ({"a": MIB, "b": 2 * MIB}, ""),
        ({"a": MIB + 1}, 'Usage of EmptyDir volume "a" exceeds the limit "1Mi".'),
        ({"a": 0, "b": 3 * MIB}, 'Usage of EmptyDir volume "b" exceeds the limit "2Mi".'),
    ],
)
def test_more_than_the_limit_is_too_much(used: dict[str, int], message: str) -> None:
    one = with_volumes(a={"emptyDir": {"sizeLimit": "1Mi"}}, b={"emptyDir": {"sizeLimit": "2Mi"}})
    assert eviction.exceeded(one, used) == message


def test_what_the_cluster_cannot_do_without_is_not_evicted() -> None:
    one = with_volumes(a={"emptyDir": {"sizeLimit": "1Mi"}})
    one.spec.priority = 2_000_001_000
    assert eviction.exceeded(one, {"a": 2 * MIB}) == ""


def test_what_is_slow_to_count_is_counted_less_often() -> None:
    assert eviction.pause_seconds(0.01) == 10
    assert eviction.pause_seconds(30) == 300
