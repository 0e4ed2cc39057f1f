"""What a delete does to an object: pure decisions on grace periods, finalizers and preconditions.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from common.api import errors, times
from common.api.resource import Resource
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.registry.strategy import Strategy
from master.apiserver.request.options import POLICIES, DeleteOptions

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Plan(NamedTuple):
    """Whether the object goes at once; if not, it has been marked as deleting."""

    remove: bool


def check_preconditions(
    resource: Resource, meta: ObjectMeta, revision: int, options: DeleteOptions
) -> None:
    """Raise 409 when the object is not the one that the request means."""
    if options.uid and options.uid != meta.uid:
        why = (
            f"Precondition failed: UID in precondition: {options.uid}, "
            f"UID in object meta: {meta.uid}"
        )
        raise errors.conflict(resource, meta.name, why)
    if options.resource_version and options.resource_version != str(revision):
        why = (
            "Precondition failed: ResourceVersion in precondition: "
            f"{options.resource_version}, ResourceVersion in object meta: {revision}"
        )
        raise errors.conflict(resource, meta.name, why)


def plan(obj: Any, strategy: Strategy, options: DeleteOptions, now: datetime) -> Plan:
    """Decide a deletion and mark `obj` accordingly."""
    meta: ObjectMeta = obj.metadata
    _apply_policy(meta, options.propagation_policy, strategy)
    grace = strategy.grace_period_seconds(obj, options.grace_period_seconds)
    if meta.deletionTimestamp:
        _shorten(meta, grace, now, asked=options.grace_period_seconds is not None)
    elif grace > 0 or meta.finalizers or _has_spec_finalizers(obj):
        end = times.later(now, grace)
        meta.deletionTimestamp = times.to_time(end)
        meta.deletionGracePeriodSeconds = min(grace, int((end - now).total_seconds()))
        if strategy.generation:
            meta.generation += 1
    if _has_spec_finalizers(obj) and hasattr(obj.status, "phase"):
        obj.status.phase = "Terminating"
    gone = grace == 0 and not meta.finalizers and not _has_spec_finalizers(obj)
    return Plan(gone or is_finished(obj))


def _apply_policy(meta: ObjectMeta, asked: str, strategy: Strategy) -> None:
    """Foreground and Orphan are finalizers that the garbage collector works off.

    What a request does not say, a finalizer that is there already says, or else the kind.
    """
    if not strategy.has_dependents:
        policy = "Background"
    elif asked:
        policy = asked
    elif ORPHAN in meta.finalizers or FOREGROUND in meta.finalizers:
        return
    else:
        policy = strategy.propagation_policy
    if policy not in POLICIES:
        finding = errors.not_supported("propagationPolicy", policy, (*POLICIES, "nil"))
        raise errors.invalid_object("meta.k8s.io", "DeleteOptions", "", [finding])
    kept = [name for name in meta.finalizers if name not in (FOREGROUND, ORPHAN)]
    added = {"Foreground": (FOREGROUND,), "Orphan": (ORPHAN,)}.get(policy, ())
    meta.finalizers = (*kept, *added)


def _shorten(meta: ObjectMeta, grace: int, now: datetime, *, asked: bool) -> None:
    """A second delete can shorten the grace period, never lengthen it or end in the past."""
    running = meta.deletionGracePeriodSeconds or 0
    if asked and grace < running and meta.deletionTimestamp:
        end = times.later(times.parse(meta.deletionTimestamp), grace - running)
        if end < now:
            end, grace = now, min(grace, 1)
        meta.deletionTimestamp = times.to_time(end)
        meta.deletionGracePeriodSeconds = grace


def _has_spec_finalizers(obj: Any) -> bool:
    """Namespaces are held by finalizers of their spec, too."""
    return bool(getattr(getattr(obj, "spec", None), "finalizers", ()))


def is_finished(obj: Any) -> bool:
    """Whether a deleting object has nothing left that holds it."""
    meta: ObjectMeta = obj.metadata
    return bool(
        meta.deletionTimestamp
        and not meta.finalizers
        and not meta.deletionGracePeriodSeconds
        and not _has_spec_finalizers(obj)
    )
