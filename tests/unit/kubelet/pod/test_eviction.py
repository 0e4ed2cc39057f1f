"""emptyDirs that outgrow their limits."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.types.core_v1 import Pod
from node.kubelet.pod.resources import eviction
from tests.fakes.pods import container, pod

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


def limited(**limits: str) -> Pod:
    """A pod of containers with limits of ephemeral-storage, and an emptyDir of each kind."""
    return pod(
        containers=[
            container(name, resources={"limits": {"ephemeral-storage": limit} if limit else {}})
            for name, limit in limits.items()
        ],
        volumes=[
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
            {"name": "host", "hostPath": {"path": "/x"}},
        ],
    )


def test_volumes_are_a_part_of_what_limited_containers_take() -> None:
    one = limited(a="1Mi", b="", c="0")
    assert eviction.storage_limits(one) == {"a": MIB}
    assert eviction.volumes(one) == ["disk"]
    assert eviction.volumes(limited(a="")) == []
    one.spec.priority = 2_000_001_000
    assert eviction.storage_limits(one) == {}


TOTAL = "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi."


@pytest.mark.parametrize(
    ("volumes", "containers", "message"),
    [
        ({}, {}, ""),
        ({"disk": MIB}, {"a": MIB, "b": MIB}, ""),
        ({"disk": MIB + 1}, {"a": MIB, "b": MIB}, TOTAL),
        ({}, {"a": MIB, "b": 2 * MIB}, ""),
        ({}, {"a": MIB, "b": 2 * MIB + 1}, TOTAL),
        ({}, {"a": MIB + 1}, 'Container a exceeded its local ephemeral storage limit "1Mi".'),
    ],
)
def test_containers_that_take_more_of_the_disk_than_they_may(
    volumes: dict[str, int], containers: dict[str, int], message: str
) -> None:
    assert eviction.exceeded(limited(a="1Mi", b="2Mi"), volumes, containers) == message


def test_what_the_cluster_cannot_do_without_is_not_evicted() -> None:
    one = with_volumes(a={"emptyDir": {"sizeLimit": "1Mi"}})
    one.spec.priority = 2_000_001_000
    assert eviction.exceeded(one, {"a": 2 * MIB}) == ""


def test_what_is_slow_to_count_is_counted_less_often() -> None:
    assert eviction.pause_seconds(0.01) == 10
    assert eviction.pause_seconds(30) == 300
