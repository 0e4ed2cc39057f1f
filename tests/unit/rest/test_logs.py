"""What may be asked of a log, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.errors import StatusError
from common.api.types.core_v1 import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStatus,
    Pod,
    PodSpec,
    PodStatus,
)
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.rest.logs import log_options


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
