"""Rules of RuntimeClass. Source: k8s.io/kubernetes pkg/apis/node/validation."""

from __future__ import annotations

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.core_v1 import ResourceRequirements, Toleration
from common.api.types.runtimeclass_v1 import RuntimeClass, Scheduling
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy, validate_labels
from master.apiserver.resources.core.pod.container.resources import validate_resources
from master.apiserver.resources.core.pod.podscheduling import validate_tolerations
from master.apiserver.resources.lib.checks import Findings, immutable, named


class RuntimeClassStrategy(Strategy):
    """A handler that never changes, and what pods of the class get beside it."""

    def validate(self, obj: RuntimeClass) -> list[FieldError]:
        """A handler; amounts and tolerations as in pods."""
        return errors.first(_findings(obj))

    def validate_update(self, new: RuntimeClass, old: RuntimeClass) -> list[FieldError]:
        """The handler is immutable."""
        return list(immutable("handler", new.handler, old.handler))


def _findings(obj: RuntimeClass) -> Findings:
    if not obj.handler:
        yield errors.required("handler")
    else:
        yield from named("handler", obj.handler, names.dns_label)
    if obj.overhead is not None:
        yield from validate_resources(
            "overhead", ResourceRequirements(limits=obj.overhead.podFixed)
        )
    if obj.scheduling is not None:
        yield from _scheduling("scheduling", obj.scheduling)


def _scheduling(path: str, scheduling: Scheduling) -> Findings:
    yield from validate_labels(scheduling.nodeSelector, f"{path}.nodeSelector")
    yield from validate_tolerations(f"{path}.tolerations", scheduling.tolerations)
    seen: list[tuple[str, ...]] = []
    for number, one in enumerate(scheduling.tolerations):
        if _key(one) in seen:
            yield errors.duplicate(f"{path}.tolerations[{number}]", one)
        seen.append(_key(one))


def _key(toleration: Toleration) -> tuple[str, ...]:
    return (toleration.key, toleration.operator, toleration.value, toleration.effect)


RULES = {"runtimeclasses.node.k8s.io": Rules(RuntimeClassStrategy)}
