"""What a check finds, and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from common.api.types.core_v1 import (
    Container,
    EphemeralContainer,
    PodSecurityContext,
    PodSpec,
    SecurityContext,
)
from common.api.types.meta_v1 import ObjectMeta

AnyContainer = Container | EphemeralContainer


class Violation(NamedTuple):
    """Why a pod is not within a standard, in short, and what of it."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[ObjectMeta, PodSpec], Violation | None]


def containers(spec: PodSpec) -> list[AnyContainer]:
    """Every container of a pod."""
    return [*spec.initContainers, *spec.containers, *spec.ephemeralContainers]


def security(container: AnyContainer) -> SecurityContext:
    """A container's security context; an empty one when it has none."""
    return container.securityContext or SecurityContext()


def security_of_pod(spec: PodSpec) -> PodSecurityContext:
    """A pod's security context; an empty one when it has none."""
    return spec.securityContext or PodSecurityContext()


def those(spec: PodSpec, condition: Callable[[AnyContainer], object]) -> list[str]:
    """The names of the containers for which something holds."""
    return [one.name for one in containers(spec) if condition(one)]


def named(what: str, names: Sequence[str]) -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{plural(what, names)} {quoted(names)}"


def setters(pod: bool, names: Sequence[str]) -> str:
    """Who sets something: `pod and containers "a", "b"`; empty for nobody."""
    who = ["pod"] if pod else []
    if names:
        who.append(named("container", names))
    return " and ".join(who)


def quoted(texts: Iterable[str]) -> str:
    """`"a", "b"`"""
    return ", ".join(f'"{text}"' for text in texts)


def plural(what: str, items: Sequence[str]) -> str:
    """A noun for so many."""
    return what if len(items) == 1 else f"{what}s"


def uses(items: Sequence[str]) -> str:
    """The verb for so many."""
    return "uses" if len(items) == 1 else "use"
