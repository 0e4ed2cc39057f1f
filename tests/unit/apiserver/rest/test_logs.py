"""What may be asked of a log, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.errors import StatusError
from common.api.types.core_v1 import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodSpec,
    PodStatus,
)
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.resources.core.pod.logoptions import log_options


def running(*names: str) -> Pod:
    """A pod whose containers run."""
    state = ContainerState(running=ContainerStateRunning())
    return Pod(
        metadata=ObjectMeta(name="web", namespace="default", uid="u"),
        spec=PodSpec(nodeName="n1", containers=tuple(Container(name=name) for name in names)),
        status=PodStatus(
            containerStatuses=tuple(ContainerStatus(name=name, state=state) for name in names)
        ),
    )


def refused(**parameters: str) -> StatusError:
    """What is said to a request with these parameters."""
    with pytest.raises(StatusError) as raised:
        log_options(running("c"), parameters)
    return raised.value


def test_all_options() -> None:
    parameters = {
        "container": "b",
        "follow": "true",
        "timestamps": "true",
        "tailLines": "0",
        "sinceTime": "1970-01-01T00:00:02Z",
        "limitBytes": "7",
    }
    made = log_options(running("a", "b"), parameters)
    assert (made.container, made.follow, made.timestamps, made.previous) == ("b", True, True, False)
    assert (made.tail_lines, made.since_ms, made.limit_bytes) == (0, 2000, 7)
    assert log_options(running("c"), {}).tail_lines == -1
    assert log_options(running("c"), {"sinceSeconds": "5"}).since_seconds == 5


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        (
            {"sinceSeconds": "1", "sinceTime": "2030-01-01T00:00:00Z"},
            "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
    ],
)
def test_what_does_not_go_is_told_as_a_rule_of_the_options(
    parameters: dict[str, str], words: str
) -> None:
    error = refused(**parameters)
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message.startswith('PodLogOptions "web" is invalid: ')
    assert words in error.message


@pytest.mark.parametrize(
    "parameters",
    [{"tailLines": "1.5"}, {"limitBytes": "٣"}, {"sinceSeconds": "9" * 30}, {"sinceTime": "x"}],
)
def test_what_cannot_be_read_is_a_bad_request(parameters: dict[str, Any]) -> None:
    assert refused(**parameters).code == 400


def test_the_container_must_be_meant_and_there() -> None:
    with pytest.raises(StatusError, match="choose one of: \\[a b\\]"):
        log_options(running("a", "b"), {})
    assert refused(container="x").message == "container x is not valid for pod web"


def waiting(reason: str) -> Pod:
    pod = running("c")
    state = ContainerState(waiting=ContainerStateWaiting(reason=reason))
    pod.status.containerStatuses = (ContainerStatus(name="c", state=state),)
    return pod


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("ErrImagePull", "image can't be pulled"),
        ("ImagePullBackOff", "trying and failing to pull image"),
        ("ErrImageNeverPull", "ErrImageNeverPull"),
        ("CreateContainerConfigError", "CreateContainerConfigError"),
    ],
)
def test_a_container_that_waits_says_why(reason: str, why: str) -> None:
    with pytest.raises(StatusError) as raised:
        log_options(waiting(reason), {})
    assert raised.value.code == 400
    assert raised.value.message == f'container "c" in pod "web" is waiting to start: {why}'


def test_a_pod_without_a_node_has_no_log_yet_but_containers() -> None:
    pod = running("c")
    pod.spec.nodeName, pod.status = "", PodStatus()
    assert log_options(pod, {"previous": "true"}).container == "c"
    with pytest.raises(StatusError, match="container x is not valid for pod web"):
        log_options(pod, {"container": "x"})


def test_init_containers_are_named_too() -> None:
    pod = running("a", "b")
    pod.spec.initContainers = (Container(name="i"),)
    with pytest.raises(StatusError) as raised:
        log_options(pod, {})
    assert raised.value.message == (
        "a container name must be specified for pod web, choose one of: [a b] or one of the init "
        "containers: [i]"
    )
