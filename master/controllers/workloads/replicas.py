"""The core that ReplicaSets and ReplicationControllers share: keep a number of pods.

Source: pkg/controller/replicaset of Kubernetes. What differs is Failed pods, which are deleted
and replaced with back-off: docs/decisions/0004-failed-pods.md. Pure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

import msgspec

from common.api import conditions, integers, labels, times
from common.api.labels import Selector
from common.api.resource import Resource
from common.api.types.core_v1 import Pod, PodTemplateSpec
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Command, Create, Delete, Event, Requeue, Update
from common.client.events import reference
from common.client.informer import Item
from common.runtime.backoff import Backoff
from master.controllers.base import CREATED, Failure, View
from master.controllers.lib import claims, pods
from master.controllers.lib.resources import PODS

BURST_REPLICAS = 500
FAILURES = "wherry.io/failures"
"""Annotation of a pod: how many pods before it, in its place, have failed in a row."""
FAILED_BACKOFF = Backoff(initial_seconds=10.0, cap_seconds=300.0)
HEALTHY_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the core needs to know of a ReplicaSet or ReplicationController."""

    resource: Resource
    metadata: ObjectMeta
    selector: Selector
    template: PodTemplateSpec
    replicas: int
    min_ready_seconds: int

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class Counts(NamedTuple):
    """The numbers of a status, and what could not be done (FailedCreate, FailedDelete)."""

    replicas: int
    fully_labeled: int
    ready: int
    available: int
    terminating: int
    failed: tuple[str, str] | None


class Plan(NamedTuple):
    """Numbers for the status, and the commands that bring the pods to the wanted number."""

    counts: Counts
    commands: list[Command]


class _Failed(NamedTuple):
    """A Failed pod that still holds its place, or whose place is free for a new one."""

    pod: Pod
    failures: int
    wait_seconds: float


class ReplicasController(ABC):
    """A controller of such a kind: the subclass says what its objects and its owners are."""

    resource: ClassVar[Resource]
    kind: ClassVar[type[Any]]
    condition: ClassVar[type[Any]]

    @abstractmethod
    def owner(self, obj: Any) -> Owner:
        """What the core needs to know of an object of this kind."""

    def numbers(self, counts: Counts) -> dict[str, int]:
        """The numbers of the status."""
        return {
            "replicas": counts.replicas,
            "fullyLabeledReplicas": counts.fully_labeled,
            "readyReplicas": counts.ready,
            "availableReplicas": counts.available,
        }

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The key itself; for a pod, its owner before and after."""
        items = [item for item in (old, new) if item is not None]
        if resource.plural != "pods":
            return {item.key for item in items}
        return {key for item in items for key in self._owners_of(view, item)}

    def _owners_of(self, view: View, pod: Item) -> Iterable[str]:
        """The keys that a pod concerns: its manager's, or of all that might adopt it."""
        manager = pod.controller
        if manager is not None:
            same = manager.kind == self.resource.kind
            return [f"{pod.namespace}/{manager.name}"] if same else []
        reader = view[self.resource.group_resource]
        return [] if pod.deleting else [owner.key for owner in reader.list(pod.namespace)]

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Status first, so that a refused create does not keep it from being told."""
        item = view[self.resource.group_resource].by_key(key)
        if item is None:
            return []
        obj = item.decode(self.kind)
        counts, commands = plan(self.owner(obj), view, now)
        status = msgspec.structs.replace(
            obj.status,
            observedGeneration=obj.metadata.generation,
            conditions=self._conditions(obj.status.conditions, counts.failed, now),
            **self.numbers(counts),
        )
        if status == obj.status:
            return commands
        obj.status = status
        reason = f"{counts.replicas} pods, {counts.ready} ready, {counts.available} available"
        update = Update(resource=self.resource, body=obj, reason=reason, subresource="status")
        return [update, *commands]

    def _conditions(self, old: Any, failed: tuple[str, str] | None, now: datetime) -> Any:
        """ReplicaFailure is there while a command is refused, and says the first reason."""
        if failed is None:
            return conditions.without(old, "ReplicaFailure")
        if conditions.find(old, "ReplicaFailure") is not None:
            return old
        reason, message = failed
        new = self.condition(
            type="ReplicaFailure",
            status="True",
            reason=reason,
            message=message,
            lastTransitionTime=times.to_time(now),
        )
        return (*old, new)


def plan(owner: Owner, view: View, now: datetime) -> Plan:
    """Compare the pods that are there with those that should be."""
    claimed = claims.claim(owner.resource, owner.metadata, owner.selector, view["pods"])
    decoded = [item.decode(Pod) for item in claimed.items]
    active = [pod for pod in decoded if pods.is_active(pod)]
    failed = [_failed(pod, now) for pod in decoded if _is_failed(pod)]
    waiting = [entry for entry in failed if entry.wait_seconds > 0]
    due = [entry for entry in failed if entry.wait_seconds <= 0]
    failure = view.failure(owner.key)
    commands = list(claimed.commands)
    difference = 0
    # An owner that is being deleted makes nothing and deletes nothing: its pods are the garbage
    # collector's, or orphans soon.
    if not owner.metadata.deletionTimestamp:
        difference = owner.replicas - len(active)
        commands += [_delete(owner, entry.pod, "has failed") for entry in due]
        commands += _manage(owner, active, due, view, now=now, held=len(waiting))
        commands += _told(owner, failure, difference)
        commands += _later(owner, active, waiting, now)
    terminating = sum(1 for pod in decoded if pod.metadata.deletionTimestamp)
    counts = _count(owner, active, now)._replace(
        terminating=terminating, failed=_refused(failure, difference)
    )
    return Plan(counts, commands)


def _is_failed(pod: Pod) -> bool:
    return pod.status.phase == "Failed" and not pod.metadata.deletionTimestamp


def _failed(pod: Pod, now: datetime) -> _Failed:
    """How often this place has failed in a row, and how long it waits for the next pod."""
    end = pods.finished_at(pod)
    made = pod.metadata.creationTimestamp
    lived = times.age_seconds(made, now) - times.age_seconds(end, now)
    before = integers.parse(pod.metadata.annotations.get(FAILURES, "")) or 0
    failures = 1 + (before if lived < HEALTHY_SECONDS else 0)
    wait_seconds = FAILED_BACKOFF.delay_seconds(failures) - times.age_seconds(end, now)
    return _Failed(pod, failures, wait_seconds)


def _count(owner: Owner, active: list[Pod], now: datetime) -> Counts:
    template = labels.from_map(owner.template.metadata.labels)
    waits = [pods.seconds_to_available(pod, owner.min_ready_seconds, now) for pod in active]
    return Counts(
        replicas=len(active),
        fully_labeled=sum(template.matches(pod.metadata.labels) for pod in active),
        ready=sum(pods.is_ready(pod) for pod in active),
        available=sum(wait == 0 for wait in waits),
        terminating=0,
        failed=None,
    )


def _manage(
    owner: Owner, active: list[Pod], due: list[_Failed], view: View, *, now: datetime, held: int
) -> list[Command]:
    """Create what is missing and delete what is too many; `held` places wait after a failure."""
    missing = owner.replicas - len(active) - held
    if missing > 0:
        # The new pods take the places of the failed ones, and their counts of failures with them.
        failures = [entry.failures for entry in due][:missing]
        failures += [0] * (min(missing, BURST_REPLICAS) - len(failures))
        return [command for count in failures for command in _create(owner, count)]
    too_many = min(len(active) - owner.replicas, BURST_REPLICAS)
    if too_many <= 0:
        return []
    crowd = _pods_by_node(owner, view)
    ranked = sorted(active, key=lambda pod: pods.deletion_order(pod, crowd, now))
    return [
        command
        for pod in ranked[:too_many]
        for command in (
            _delete(owner, pod, "is one too many"),
            _event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}"),
        )
    ]


def _pods_by_node(owner: Owner, view: View) -> Counter[str]:
    """Active pods of the same manager's manager (a Deployment) or of the owner, by node."""
    manager = next((o for o in owner.metadata.ownerReferences if o.controller), None)
    family = {owner.metadata.uid}
    if manager is not None:
        name = owner.resource.group_resource
        family |= {item.uid for item in view[name].owned_by(manager.uid)}
    return Counter(
        item.node
        for uid in family
        for item in view["pods"].owned_by(uid)
        if item.phase not in ("Succeeded", "Failed") and not item.deleting
    )


def _create(owner: Owner, failures: int) -> list[Command]:
    meta = owner.metadata
    who = pods.controller_reference(owner.resource.api_version, owner.resource.kind, meta)
    pod = pods.from_template(owner.template, meta.namespace, who)
    if failures:
        pod.metadata.annotations[FAILURES] = str(failures)
    reason = f"{owner.resource.singular} {owner.key} wants {owner.replicas} pods"
    return [
        Create(resource=PODS, namespace=meta.namespace, body=pod, reason=reason),
        _event(owner, "Normal", "SuccessfulCreate", f"Created pod: {CREATED}"),
    ]


def _delete(owner: Owner, pod: Pod, why: str) -> Command:
    meta = pod.metadata
    return Delete(
        resource=PODS,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        reason=f"pod {meta.name} of {owner.resource.singular} {owner.key} {why}",
    )


def _event(owner: Owner, kind: str, reason: str, message: str) -> Event:
    about = reference(owner.resource.api_version, owner.resource.kind, owner.metadata)
    return Event(about=about, type=kind, reason=reason, message=message)


def _refused(failure: Failure | None, difference: int) -> tuple[str, str] | None:
    """Reason and message of ReplicaFailure while the refused command is still wanted."""
    if failure is None or difference == 0:
        return None
    wanted = "create" if difference > 0 else "delete"
    if failure.verb != wanted:
        return None
    return f"Failed{wanted.title()}", failure.message


def _told(owner: Owner, failure: Failure | None, difference: int) -> list[Command]:
    refused = _refused(failure, difference)
    if refused is None:
        return []
    verb = "creating" if difference > 0 else "deleting"
    return [_event(owner, "Warning", refused[0], f"Error {verb}: {refused[1]}")]


def _later(owner: Owner, active: list[Pod], waiting: list[_Failed], now: datetime) -> list[Command]:
    """Look again when the next pod becomes available or the next failed one may be replaced."""
    waits = [pods.seconds_to_available(pod, owner.min_ready_seconds, now) for pod in active]
    soon = [wait for wait in waits if wait] + [entry.wait_seconds for entry in waiting]
    if not soon:
        return []
    return [Requeue(after_seconds=min(soon), reason="a pod becomes available or replaceable")]
