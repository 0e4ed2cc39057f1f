"""What of a pod an update may change. Source: pkg/apis/core/validation ValidatePodUpdate."""

from __future__ import annotations

import msgspec

from common.api import errors
from common.api.types.core_v1 import Container, Pod, PodSchedulingGate, PodSpec, Toleration
from master.apiserver.resources.lib.checks import Findings

UPDATABLE = ",".join(
    (
        "`spec.containers[*].image`",
        "`spec.initContainers[*].image`",
        "`spec.activeDeadlineSeconds`",
        "`spec.tolerations` (only additions to existing tolerations)",
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
        "negative)",
    )
)


def validate_pod_update(new: Pod, old: Pod) -> Findings:
    """Images, a shorter deadline, more tolerations, fewer gates; nothing else of the spec."""
    for name in ("containers", "initContainers"):
        if len(getattr(new.spec, name)) != len(getattr(old.spec, name)):
            text = "pod updates may not add or remove containers"
            yield errors.forbidden(f"spec.{name}", text)
            return
    yield from _deadline(new.spec.activeDeadlineSeconds, old.spec.activeDeadlineSeconds)
    yield from _tolerations(new.spec.tolerations, old.spec.tolerations)
    yield from _gates(new.spec.schedulingGates, old.spec.schedulingGates)
    comparable = _with_updatable(new.spec, old.spec)
    if comparable != old.spec:
        text = f"pod updates may not change fields other than {UPDATABLE}"
        yield errors.forbidden("spec", f"{text}\n{difference(old.spec, comparable)}")


def _deadline(new: int | None, old: int | None) -> Findings:
    path = "spec.activeDeadlineSeconds"
    if old is None:
        return
    if new is None:
        text = "must not update from a positive integer to nil value"
        yield errors.invalid(path, None, text)
    elif new > old:
        yield errors.invalid(path, new, "must be less than or equal to previous value")


def _tolerations(new: tuple[Toleration, ...], old: tuple[Toleration, ...]) -> Findings:
    def bare(toleration: Toleration) -> tuple[str, ...]:
        one = toleration
        return one.key, one.operator, one.value, one.effect

    if not {bare(toleration) for toleration in old} <= {bare(toleration) for toleration in new}:
        text = "existing toleration can not be modified except its tolerationSeconds"
        yield errors.forbidden("spec.tolerations", text)


def _gates(new: tuple[PodSchedulingGate, ...], old: tuple[PodSchedulingGate, ...]) -> Findings:
    known = {gate.name for gate in old}
    for number, gate in enumerate(new):
        if gate.name not in known:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            yield errors.forbidden(f"spec.schedulingGates[{number}].name", text)


def _with_updatable(new: PodSpec, old: PodSpec) -> PodSpec:
    """The new spec with the old values of all that may change."""
    made = msgspec.structs.replace(
        new,
        containers=_with_images(new.containers, old.containers),
        initContainers=_with_images(new.initContainers, old.initContainers),
        activeDeadlineSeconds=old.activeDeadlineSeconds,
        tolerations=old.tolerations,
        schedulingGates=old.schedulingGates,
    )
    grace = old.terminationGracePeriodSeconds
    if grace is not None and grace < 0 and new.terminationGracePeriodSeconds == 1:
        made.terminationGracePeriodSeconds = grace
    # Nobody has decided yet where a gated pod goes: it may be narrowed down.
    if old.schedulingGates and old.nodeSelector.items() <= new.nodeSelector.items():
        made.nodeSelector = old.nodeSelector
    return made


def _with_images(new: tuple[Container, ...], old: tuple[Container, ...]) -> tuple[Container, ...]:
    return tuple(
        msgspec.structs.replace(container, image=before.image)
        for container, before in zip(new, old, strict=True)
    )


def difference(old: msgspec.Struct, new: msgspec.Struct) -> str:
    """The members that differ, the old value above the new one."""
    lines = []
    for name in old.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            lines.append(f"-  {name}: {msgspec.json.encode(before).decode()}")
            lines.append(f"+  {name}: {msgspec.json.encode(after).decode()}")
    return "\n".join(lines)
