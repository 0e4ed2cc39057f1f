"""Rules for probes and lifecycle hooks of containers. Source: pkg/apis/core/validation."""

from __future__ import annotations

import re
from typing import Any

from common.api import errors
from common.api.types.core_v1 import Container, EphemeralContainer, HTTPGetAction, Probe
from master.apiserver.resources.lib.checks import Findings, between, nonnegative, one_of, port

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_NUMBERS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)
_HEADER = re.compile("[-A-Za-z0-9]+")


def validate_probes(
    path: str, container: Container | EphemeralContainer, grace_period_seconds: int | None
) -> Findings:
    """The three probes and the two hooks."""
    lifecycle = container.lifecycle
    if lifecycle is not None:
        for hook in ("postStart", "preStop"):
            handler = getattr(lifecycle, hook)
            if handler is not None:
                yield from _handler(f"{path}.lifecycle.{hook}", handler, grace_period_seconds)
    for name in PROBES:
        probe = getattr(container, name)
        if probe is not None:
            yield from _probe(f"{path}.{name}", name, probe)


def _probe(path: str, name: str, probe: Probe) -> Findings:
    yield from _handler(path, probe, None)
    for number in _NUMBERS:
        yield from nonnegative(f"{path}.{number}", getattr(probe, number))
    grace, grace_path = probe.terminationGracePeriodSeconds, f"{path}.terminationGracePeriodSeconds"
    if grace is not None and grace <= 0:
        yield errors.invalid(grace_path, grace, "must be greater than 0")
    if name == "readinessProbe":
        if grace is not None:
            yield errors.invalid(grace_path, grace, "must not be set for readinessProbes")
    elif probe.successThreshold != 1:
        yield errors.invalid(f"{path}.successThreshold", probe.successThreshold, "must be 1")


def _handler(path: str, handler: Any, grace_period_seconds: int | None) -> Findings:
    """Exactly one of the ways to ask a container."""
    given = [name for name in _HANDLERS if getattr(handler, name, None) is not None]
    if not given:
        yield errors.required(path, "must specify a handler type")
        return
    for name in given[1:]:
        yield errors.forbidden(f"{path}.{name}", "may not specify more than 1 handler type")
    here, action = f"{path}.{given[0]}", getattr(handler, given[0])
    match given[0]:
        case "exec":
            if not action.command:
                yield errors.required(f"{here}.command")
        case "httpGet":
            yield from _http_get(here, action)
        case "tcpSocket":
            yield from port(f"{here}.port", action.port)
        case "grpc":
            yield from between(f"{here}.port", action.port, 1, 65535)
        case "sleep":
            grace = grace_period_seconds
            if grace is not None and not 0 <= action.seconds <= grace:
                text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                yield errors.invalid(here, action.seconds, text)


def _http_get(path: str, action: HTTPGetAction) -> Findings:
    if not action.path:
        yield errors.required(f"{path}.path")
    yield from port(f"{path}.port", action.port)
    yield from one_of(f"{path}.scheme", action.scheme, ("HTTP", "HTTPS"))
    for header in action.httpHeaders:
        if not _HEADER.fullmatch(header.name):
            text = (
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. "
                "'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
            )
            yield errors.invalid(f"{path}.httpHeaders", header.name, text)
