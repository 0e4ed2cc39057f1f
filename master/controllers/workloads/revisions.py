"""Revisions of a Deployment: which ReplicaSet is the new one, its number, and the history.

Source: pkg/controller/deployment/util of Kubernetes. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from common.api import integers
from common.api.types.apps_v1 import Deployment, ReplicaSet, ReplicaSetSpec
from common.api.types.core_v1 import PodTemplateSpec
from common.api.types.meta_v1 import LabelSelector, ObjectMeta
from master.controllers.lib import pods
from master.controllers.lib.resources import DEPLOYMENTS
from master.controllers.workloads import rollout

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
HISTORY_MAX_CHARACTERS = 2000
NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        HISTORY,
        rollout.DESIRED,
        rollout.MAXIMUM,
    }
)
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: PodTemplateSpec, collisions: int | None) -> str:
    """Ten characters that stand for a pod template; `collisions` makes another of the same."""
    text = msgspec.json.encode(template, order="deterministic") + b"%d" % (collisions or 0)
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    letters = []
    for _ in range(10):
        number, index = divmod(number, len(_SAFE))
        letters.append(_SAFE[index])
    return "".join(letters)


def _without_hash(template: PodTemplateSpec) -> PodTemplateSpec:
    labels = {key: value for key, value in template.metadata.labels.items() if key != HASH}
    meta = msgspec.structs.replace(template.metadata, labels=labels)
    return msgspec.structs.replace(template, metadata=meta)


def find_new(deployment: Deployment, replica_sets: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """The oldest ReplicaSet with the Deployment's pod template, or None."""
    wanted = _without_hash(deployment.spec.template)
    matching = [rs for rs in replica_sets if _without_hash(rs.spec.template) == wanted]
    return min(matching, key=rollout.by_age, default=None)


def number(replica_set: ReplicaSet) -> int:
    """The revision of a ReplicaSet; 0 when it has none."""
    return integers.parse(replica_set.metadata.annotations.get(REVISION, "")) or 0


def annotate(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> bool:
    """Give the new ReplicaSet the Deployment's annotations and the highest revision.

    Answers whether that changed anything. The number that an old ReplicaSet had before a roll
    back goes into its history. A revision that is no number stays, and so does the
    last one of 64 bits.
    """
    known = new.metadata.annotations
    before = known.get(REVISION, "")
    if before and integers.parse(before) is None:
        return False
    copied = {k: v for k, v in deployment.metadata.annotations.items() if k not in NOT_COPIED}
    changed = any(known.get(key) != value for key, value in copied.items())
    known.update(copied)
    highest = max((number(rs) for rs in old), default=0) + 1
    if number(new) >= highest or highest > integers.INT64_MAX:
        return changed
    known[REVISION] = str(highest)
    if before:
        history = [*known.get(HISTORY, "").split(","), before]
        while len(",".join(history)) > HISTORY_MAX_CHARACTERS:
            history.pop(0)
        known[HISTORY] = ",".join(entry for entry in history if entry)
    return True


def make_new(deployment: Deployment, old: Sequence[ReplicaSet]) -> ReplicaSet:
    """A ReplicaSet of the Deployment's template, without pods yet."""
    code = template_hash(deployment.spec.template, deployment.status.collisionCount)
    meta, template = deployment.metadata, deployment.spec.template
    labels = {**template.metadata.labels, HASH: code}
    selector = deployment.spec.selector or LabelSelector()
    selector = msgspec.structs.replace(selector, matchLabels={**selector.matchLabels, HASH: code})
    made = ReplicaSet(
        metadata=ObjectMeta(
            name=f"{meta.name[: 252 - len(code)]}-{code}",
            namespace=meta.namespace,
            labels=dict(labels),
            ownerReferences=(
                pods.controller_reference(DEPLOYMENTS.api_version, DEPLOYMENTS.kind, meta),
            ),
        ),
        spec=ReplicaSetSpec(
            replicas=0,
            minReadySeconds=deployment.spec.minReadySeconds,
            selector=selector,
            template=PodTemplateSpec(
                metadata=msgspec.structs.replace(template.metadata, labels=labels),
                spec=template.spec,
            ),
        ),
    )
    annotate(deployment, made, old)
    return made


def surplus(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Old ReplicaSets beyond the revision history limit that have no pods any more."""
    limit = deployment.spec.revisionHistoryLimit
    if limit is None or limit == 2**31 - 1:
        return []
    alive = sorted((rs for rs in old if not rs.metadata.deletionTimestamp), key=number)
    return [
        rs
        for rs in alive[: max(0, len(alive) - limit)]
        if rs.status.replicas == 0
        and rollout.size(rs) == 0
        and rs.metadata.generation <= rs.status.observedGeneration
    ]
