"""The options of `kubectl logs`, checked against the pod. Pure.

Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/#read-log-pod-v1-core
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from common.api import errors, times
from common.api.errors import FieldError
from common.api.types.core_v1 import ContainerStatus, Pod
from master.apiserver.request.options import truthy
from master.apiserver.resources.core.pod.containerchoice import container_of

MINIMA = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
"""The numbers that may be asked for, and their least values."""
SINCE_MAX_SECONDS = 10**9
"""As far back as any log may go; more means all of it."""
_WAITING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}
_INTEGER = re.compile("-?[0-9]{1,18}")


class LogOptions(NamedTuple):
    """Which log, and which part of it. Times in milliseconds since 1970, sizes in bytes."""

    namespace: str
    name: str
    uid: str
    container: str
    follow: bool
    previous: bool
    timestamps: bool
    tail_lines: int
    since_seconds: int
    since_ms: int
    limit_bytes: int


def log_options(pod: Pod, parameters: Mapping[str, str]) -> LogOptions:
    """What is asked for, checked; raises StatusError 400 or 422 in Kubernetes' words."""
    numbers = {name: _number(parameters, name) for name in MINIMA}
    since_time = parameters.get("sinceTime", "")
    if problems := _problems(numbers, since_time):
        raise errors.invalid_object("", "PodLogOptions", pod.metadata.name, problems)
    try:
        since_ms = int(times.parse(since_time).timestamp() * 1000) if since_time else 0
    except times.InvalidTime as error:
        raise errors.bad_request(str(error)) from error
    container = container_of(pod, parameters.get("container", ""))
    previous = truthy(parameters.get("previous"))
    _check_started(pod, container, previous=previous)
    tail = numbers["tailLines"]
    return LogOptions(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        container=container,
        follow=truthy(parameters.get("follow")),
        previous=previous,
        timestamps=truthy(parameters.get("timestamps")),
        tail_lines=-1 if tail is None else tail,
        since_seconds=min(numbers["sinceSeconds"] or 0, SINCE_MAX_SECONDS),
        since_ms=since_ms,
        limit_bytes=numbers["limitBytes"] or 0,
    )


def _number(parameters: Mapping[str, str], name: str) -> int | None:
    """A whole number of the query; None when it is not there."""
    text = parameters.get(name, "")
    if not text:
        return None
    if not _INTEGER.fullmatch(text):
        raise errors.bad_request(f'{name}: Invalid value: "{text}": must be a whole number')
    return int(text)


def _problems(numbers: Mapping[str, int | None], since_time: str) -> list[FieldError]:
    """What of the options is too small, or does not go together."""
    findings = []
    for name, minimum in MINIMA.items():
        number = numbers[name]
        if number is not None and number < minimum:
            least = "greater than 0" if minimum else "greater than or equal to 0"
            findings.append(errors.invalid(name, number, f"must be {least}"))
    if numbers["sinceSeconds"] is not None and since_time:
        text = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        findings.append(errors.forbidden("", text))
    return findings


def _check_started(pod: Pod, container: str, *, previous: bool) -> None:
    """Without a log there is a reason, and the user is told it."""
    name = pod.metadata.name
    if not pod.spec.nodeName:
        return
    known = pod.status
    statuses = (
        *known.initContainerStatuses,
        *known.containerStatuses,
        *known.ephemeralContainerStatuses,
    )
    status = next((s for s in statuses if s.name == container), ContainerStatus())
    if previous:
        if status.lastState.terminated is None:
            raise errors.bad_request(
                f'previous terminated container "{container}" in pod "{name}" not found'
            )
        return
    waiting = status.state.waiting
    if waiting is not None and status.lastState.terminated is None:
        why = _WAITING.get(waiting.reason, waiting.reason)
        raise errors.bad_request(
            f'container "{container}" in pod "{name}" is waiting to start: {why}'
        )
    if waiting is None and status.state.running is None and status.state.terminated is None:
        raise errors.bad_request(
            f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating'
        )
