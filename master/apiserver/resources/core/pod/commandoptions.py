"""The options of `kubectl exec`, `attach` and `port-forward`, checked against the pod. Pure.

Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/ (PodExecOptions,
PodAttachOptions, PodPortForwardOptions)
"""

from __future__ import annotations

from collections.abc import Sequence

from common.api import errors
from common.api.podreferences import all_containers
from common.api.types.core_v1 import Pod
from master.apiserver.registry.duplex import CommandOptions, Query
from master.apiserver.request.options import truthy
from master.apiserver.resources.core.pod.containerchoice import container_of

PORT_MAX = 65_535


def exec_options(pod: Pod, query: Query) -> CommandOptions:
    """A command that is to be run; raises StatusError 400."""
    command = list(query.get("command", ()))
    if not command:
        raise errors.bad_request("you must specify at least one command")
    return _options(pod, query, command)


def attach_options(pod: Pod, query: Query) -> CommandOptions:
    """What of a container's first process is wanted; raises StatusError 400.

    Input and a terminal it has only where its container was made with one.
    """
    options = _options(pod, query, ())
    container = next((c for c in all_containers(pod.spec) if c.name == options.container), None)
    if container is None:
        return options
    terminal = container.tty
    return options._replace(
        stdin=options.stdin and container.stdin,
        stderr=options.stderr and not terminal,
        terminal=terminal,
    )


def check_assigned(pod: Pod) -> None:
    """Raise StatusError 400 for a pod that has no node yet."""
    if not pod.spec.nodeName:
        raise errors.bad_request(f"pod {pod.metadata.name} does not have a host assigned")


def _options(pod: Pod, query: Query, command: Sequence[str]) -> CommandOptions:
    def asked(name: str) -> bool:
        return truthy(next(iter(query.get(name, ())), None))

    check_assigned(pod)
    terminal = asked("tty")
    stdin, stdout = asked("stdin"), asked("stdout")
    stderr = asked("stderr") and not terminal
    if not (stdin or stdout or stderr):
        raise errors.bad_request("you must specify at least 1 of stdin, stdout, stderr")
    container = container_of(pod, next(iter(query.get("container", ())), ""))
    return CommandOptions(container, command, stdin, stdout, stderr, terminal)
