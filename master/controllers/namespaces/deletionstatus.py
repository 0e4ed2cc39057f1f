"""What a namespace that is being deleted waits for, as conditions. Pure.

Source: pkg/controller/namespace/deletion of Kubernetes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from common.api import times
from common.api.resource import Resource
from common.api.types.core_v1 import NamespaceCondition
from common.api.types.meta_v1 import PartialObjectMetadata
from common.client.informer import Item

Content = Sequence[tuple[Resource, Item]]
_FINE = {
    "NamespaceDeletionDiscoveryFailure": (
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": (
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
}


def conditions(content: Content, pods: Content, now: datetime) -> list[NamespaceCondition]:
    """One of each type; `pods` are those of the content, before which nothing else goes."""
    remaining = Counter(f"{r.plural}.{r.group}" for r, _ in pods or content)
    finalizers = Counter(
        name
        for _, item in pods or content
        if item.deleting
        for name in item.decode(PartialObjectMetadata).metadata.finalizers
    )
    wrong = {
        "NamespaceContentRemaining": (
            "SomeResourcesRemain",
            f"Some resources are remaining: {_counts(remaining, 'has {} resource instances')}",
        )
    }
    if finalizers:
        counts = _counts(finalizers, "in {} resource instances")
        wrong["NamespaceFinalizersRemaining"] = (
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {counts}",
        )
    if pods:
        wrong["NamespaceDeletionContentFailure"] = (
            "ContentDeletionFailed",
            "Failed to delete all resource types, 1 remaining: unexpected items still remain in "
            f"namespace: {pods[0][1].namespace} for gvr: /v1, Resource=pods",
        )
    stamp = times.to_time(now)
    return [
        NamespaceCondition(
            type=kind,
            status="True" if kind in wrong else "False",
            lastTransitionTime=stamp,
            reason=(wrong.get(kind) or fine)[0],
            message=(wrong.get(kind) or fine)[1],
        )
        for kind, fine in _FINE.items()
    ]


def _counts(found: Counter[str], text: str) -> str:
    return ", ".join(f"{name} {text.format(number)}" for name, number in sorted(found.items()))


def differ(old: Iterable[NamespaceCondition], new: Iterable[NamespaceCondition]) -> bool:
    """Whether new conditions say more than other numbers: those change with every object."""
    known = {condition.type: _said(condition) for condition in old}
    return any(known.get(condition.type) != _said(condition) for condition in new)


def _said(condition: NamespaceCondition) -> tuple[str, str, str]:
    return condition.status, condition.reason, re.sub(r" [0-9]+ ", " ", condition.message)
