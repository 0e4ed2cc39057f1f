"""What a delete does to an object: pure decisions on grace periods, finalizers and preconditions.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from common.api import errors, times
from common.api.resource import Resource
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.registry.request import DeleteOptions
from master.apiserver.registry.strategy import Strategy

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
POLICIES = ("Background", "Foreground", "Orphan", "")


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
    _apply_policy(meta, options.propagation_policy)
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


def _apply_policy(meta: ObjectMeta, policy: str) -> None:
    """Foreground and Orphan are finalizers that the garbage collector works off."""
    if policy not in POLICIES:
        raise errors.bad_request(f'unknown propagation policy "{policy}"')
    kept = [name for name in meta.finalizers if name not in (FOREGROUND, ORPHAN)]
    if policy == "Foreground":
        meta.finalizers = (*kept, FOREGROUND)
    elif policy == "Orphan":
        meta.finalizers = (*kept, ORPHAN)
    elif policy == "Background":
        meta.finalizers = tuple(kept)


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
