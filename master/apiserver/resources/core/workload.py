"""Rules that every workload shares: replicas of a pod template, found by a selector."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from common.api import errors
from common.api.errors import FieldError
from common.api.types.core_v1 import PodTemplateSpec
from common.api.types.meta_v1 import LabelSelector
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.core.pod import podwarnings
from master.apiserver.resources.core.pod.podspec import validate_template
from master.apiserver.resources.lib.checks import (
    Findings,
    immutable,
    label_selector,
    nonnegative,
    selects,
)

REVISION_HISTORY_LIMIT = 10
_PERCENT = re.compile("[0-9]+%")
_NOT_A_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
    "'93%', regex used for validation is '[0-9]+%')"
)
_COUNTS = ("fullyLabeledReplicas", "updatedReplicas", "readyReplicas", "availableReplicas")
_OTHER_COUNTS = ("replicas", "unavailableReplicas", "terminatingReplicas", "observedGeneration")


class WorkloadStrategy(Strategy):
    """A kind with a pod template; its generation counts changes of the spec."""

    generation: ClassVar[bool] = True
    names_pods: ClassVar[bool] = True
    """Whether its name is a part of host names."""
    rules: ClassVar[Callable[[Any], Findings]]
    """What is wrong with a spec."""

    def validate(self, obj: Any) -> list[FieldError]:
        """The rules of the spec."""
        return errors.first(type(self).rules(obj.spec))

    def warnings(self, obj: Any, old: Any = None) -> list[str]:
        """Those for its pods; again when the spec has changed."""
        texts = super().warnings(obj, old)
        if old is None and self.names_pods:
            texts += podwarnings.recommended_label(obj.metadata.name, "Pod names and hostnames")
        changed = old is None or obj.metadata.generation != old.metadata.generation
        template = obj.spec.template
        if changed and template is not None:
            texts += podwarnings.of_template("spec.template", template.spec, template.metadata)
        return texts

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """Pods are found by the selector; it stays."""
        return list(immutable("spec.selector", new.spec.selector, old.spec.selector))

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """Counts that fit together."""
        return list(_status(new.status))


def validate_replicas(spec: Any) -> Findings:
    """Numbers that no workload may have below zero, where a kind has them."""
    for name in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        yield from nonnegative(f"spec.{name}", getattr(spec, name, None))


def validate_selector(
    selector: LabelSelector | None, template: PodTemplateSpec, kind: str
) -> Findings:
    """A selector that is there, selects something, and matches the template."""
    if selector is None:
        yield errors.required("spec.selector")
        yield from validate_match(False, template)
        return
    yield from label_selector("spec.selector", selector)
    if not selector.matchLabels and not selector.matchExpressions:
        text = f"empty selector is invalid for {kind}"
        yield errors.invalid("spec.selector", selector, text)
    yield from validate_match(selects(selector, template.metadata.labels), template)


def validate_match(matches: bool, template: PodTemplateSpec) -> Findings:
    """A workload that does not select its own pods would make more and more of them."""
    if not matches:
        text = "`selector` does not match template `labels`"
        labels = template.metadata.labels
        yield errors.invalid("spec.template.metadata.labels", labels, text)


def validate_lasting_template(template: PodTemplateSpec, kind: str) -> Findings:
    """A template of pods that run until they are deleted."""
    yield from validate_template("spec.template", template)
    spec = template.spec
    if spec.restartPolicy != "Always":
        path = "spec.template.spec.restartPolicy"
        yield errors.not_supported(path, spec.restartPolicy, ("Always",))
    if spec.activeDeadlineSeconds is not None:
        text = f"activeDeadlineSeconds in {kind} is not Supported"
        yield errors.forbidden("spec.template.spec.activeDeadlineSeconds", text)


def validate_amount(path: str, value: int | str | None, *, at_most_all: bool = False) -> Findings:
    """A number of pods or a share of them in percent."""
    if isinstance(value, int):
        yield from nonnegative(path, value)
    elif isinstance(value, str) and not _PERCENT.fullmatch(value):
        yield errors.invalid(path, value, _NOT_A_PERCENT)
    elif isinstance(value, str) and at_most_all and _over_100_percent(value):
        yield errors.invalid(path, value, "must not be greater than 100%")


def _over_100_percent(percent: str) -> bool:
    digits = percent.removesuffix("%").lstrip("0")
    return len(digits) > 3 or int(digits or "0") > 100


def is_zero(value: int | str | None) -> bool:
    """Whether an amount is none at all, such as `0` or `0%`."""
    return value in (None, 0) or (isinstance(value, str) and not value.rstrip("%").strip("0"))


def _status(status: Any) -> Findings:
    for name in (*_OTHER_COUNTS, *_COUNTS):
        yield from nonnegative(f"status.{name}", getattr(status, name, None))
    total = getattr(status, "replicas", None)
    if total is None:
        return
    for name in _COUNTS:
        count = getattr(status, name, 0)
        if count > total:
            yield errors.invalid(f"status.{name}", count, "cannot be greater than status.replicas")
    if getattr(status, "availableReplicas", 0) > getattr(status, "readyReplicas", 0):
        text = "cannot be greater than readyReplicas"
        yield errors.invalid("status.availableReplicas", status.availableReplicas, text)
