"""What pods request, and which scheduler is to place them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from common.api.codec import json as codec
from common.api.podrequests import requests
from common.api.types import Quantity
from common.api.types.core_v1 import (
    Container,
    ContainerPort,
    ContainerStatus,
    Pod,
    PodCondition,
    PodSchedulingGate,
    PodSpec,
    PodStatus,
    ResourceRequirements,
)
from master.scheduler.pod import pod_info
from master.scheduler.requests import NO_REQUEST, in_effect
from tests.unit.scheduler.world import pod, pod_item


def container(cpu: str = "", restart: str | None = None) -> Container:
    asked = {"cpu": cpu} if cpu else {}
    resources = ResourceRequirements(requests=asked)
    return Container(name="c", resources=resources, restartPolicy=restart)


@pytest.mark.parametrize(
    ("containers", "init", "milli"),
    [
        (["100m", "200m"], [], 300),
        (["100m"], [("500m", None)], 500),
        (["100m"], [("50m", None)], 100),
        (["100m"], [("200m", "Always")], 300),
        (["100m"], [("200m", "Always"), ("500m", None)], 700),
        (["100m"], [("500m", None), ("200m", "Always")], 500),
    ],
)
def test_requests(containers: list[str], init: list[tuple[str, str | None]], milli: int) -> None:
    spec = PodSpec(
        containers=tuple(container(cpu) for cpu in containers),
        initContainers=tuple(container(cpu, restart) for cpu, restart in init),
        overhead={"cpu": "10m"},
    )
    assert requests(spec)["cpu"] == milli + 10


def test_defaults_are_for_scores_only() -> None:
    spec = PodSpec(containers=(container(), container("1")))
    assert requests(spec) == {"cpu": 1000}
    assert requests(spec, NO_REQUEST) == {"cpu": 1100, "memory": 2 * 200 * 1024 * 1024}


def test_pods_of_one_template_share_their_class() -> None:
    assert pod("a", cpu="1", owner="rs").shape is pod("b", cpu="1", owner="rs").shape
    assert pod("a", cpu="1", owner="rs").shape is not pod("b", cpu="2", owner="rs").shape


def test_ports_of_the_host_are_those_of_what_runs_all_the_time() -> None:
    init = tuple(
        Container(name=f"c{number}", restartPolicy=policy, ports=(ContainerPort(hostPort=number),))
        for number, policy in enumerate((None, "Always", "OnFailure"), start=1)
    )
    assert pod("a", initContainers=init).shape.ports == (("0.0.0.0", "TCP", 2),)


def test_which_pods_are_wanted() -> None:
    assert pod("a").wanted
    assert not pod("a", schedulingGates=(PodSchedulingGate(name="g"),)).wanted
    assert not pod("a", deleting=True).wanted
    assert not pod("a", node="n").wanted
    assert not pod_info(pod_item("a", phase="Failed")).wanted


def test_whose_pods_they_are() -> None:
    assert pod("a").scheduler == "default-scheduler"
    assert pod("a", schedulerName="other").scheduler == "other"


def resizing(wanted: str, allocated: str, has: str, *, infeasible: bool = False) -> Pod:
    """A pod between two amounts of CPU, as its kubelet reports it."""
    status = ContainerStatus(
        name="c",
        allocatedResources={"cpu": Quantity(allocated)},
        resources=ResourceRequirements(requests={"cpu": Quantity(has)}),
    )
    pending = PodCondition(type="PodResizePending", status="True", reason="Infeasible")
    return Pod(
        spec=PodSpec(containers=(container(wanted),)),
        status=PodStatus(containerStatuses=(status,), conditions=(pending,) if infeasible else ()),
    )


@pytest.mark.parametrize(
    ("one", "milli"),
    [
        (resizing("1", "1", "1"), 1000),
        (resizing("2", "1", "1"), 2000),
        (resizing("1", "2", "1"), 2000),
        (resizing("1", "1", "2"), 2000),
        (resizing("100", "1", "2", infeasible=True), 2000),
    ],
)
def test_a_resize_counts_with_the_most_that_it_may_need(one: Pod, milli: int) -> None:
    assert requests(in_effect(one)) == {"cpu": milli}


def test_a_pod_that_is_resized_takes_what_it_will_have() -> None:
    item = pod_item("a", cpu="1")
    bound = item.decode(Pod)
    bound.status = resizing("1", "3", "1").status
    assert ("cpu", 3000) in pod_info(replace(item, data=codec.encode(bound))).shape.requests
