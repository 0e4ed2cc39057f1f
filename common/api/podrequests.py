"""What a pod asks of a node's resources.

Source: component-helpers/resource of Kubernetes and
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ (sidecars add up). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from common.api import quantity
from common.api.types.core_v1 import Container, PodSpec

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"
AMOUNT_MAX = 1 << 50
"""No node has more of anything, and thousands of pods with so much still add up in 64 bits."""

Amounts = dict[str, int]
"""Amounts by resource: CPU in thousandths, everything else in units."""


def amounts(quantities: Mapping[str, str]) -> Amounts:
    """Quantities as whole numbers, rounded up, from 0 to AMOUNT_MAX."""
    return {
        name: min(max(quantity.milli(text) if name == CPU else quantity.whole(text), 0), AMOUNT_MAX)
        for name, text in quantities.items()
    }


def requests(spec: PodSpec, defaults: Mapping[str, int] | None = None) -> Amounts:
    """What is set aside on a node: containers and sidecars together, or an init container that
    needs more. Containers without a request for a resource count with `defaults`.
    """
    start = dict(defaults or {})
    total = _in_all(spec, lambda container: start | amounts(container.resources.requests))
    if spec.resources is not None:
        total |= amounts(spec.resources.requests)
    _add(total, amounts(spec.overhead))
    return total


def limits(spec: PodSpec) -> Amounts:
    """What the containers of a pod may use in all, of that of which some have a limit."""
    return _in_all(spec, lambda container: amounts(container.resources.limits))


def _in_all(spec: PodSpec, of: Callable[[Container], Amounts]) -> Amounts:
    """Containers and sidecars together, or an init container that needs more."""
    total: Amounts = {}
    for container in spec.containers:
        _add(total, of(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.initContainers:
        own = of(container)
        if container.restartPolicy == "Always":
            _add(sidecars, own)
            _raise(peak, sidecars)
        else:
            together = dict(sidecars)
            _add(together, own)
            _raise(peak, together)
    _add(total, sidecars)
    _raise(total, peak)
    return total


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = min(total.get(name, 0) + amount, AMOUNT_MAX)


def _raise(total: Amounts, least: Amounts) -> None:
    for name, amount in least.items():
        total[name] = max(total.get(name, 0), amount)
