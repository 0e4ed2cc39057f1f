"""Deployments: roll a pod template out over ReplicaSets, one a revision, and keep the old ones.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/ and
pkg/controller/deployment of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from common.api import conditions, labels
from common.api.resource import Resource
from common.api.types.apps_v1 import Deployment, DeploymentStatus, ReplicaSet
from common.api.types.core_v1 import Pod
from common.client.commands import Command, Create, Delete, Event, Patch, Requeue, Update
from common.client.events import reference
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib import claims
from master.controllers.lib.resources import DEPLOYMENTS, REPLICA_SETS
from master.controllers.workloads import progress, revisions, rollout


class DeploymentController:
    """Sizes ReplicaSets so that new pods replace old ones within maxSurge and maxUnavailable."""

    name: ClassVar[str] = "deployment"
    account: ClassVar[str] = "deployment-controller"
    watches: ClassVar[Sequence[str]] = ("deployments.apps", "replicasets.apps", "pods")

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The key itself; the Deployment of a ReplicaSet; that of a pod which has ended."""
        items = [item for item in (old, new) if item is not None]
        if resource.plural == "deployments":
            return {item.key for item in items}
        if resource.plural == "replicasets":
            return {key for item in items for key in _deployments(view, item)}
        item = items[-1]
        manager = item.controller
        if manager is None or (new is not None and new.phase not in ("Succeeded", "Failed")):
            return []
        replica_set = view["replicasets.apps"].get(item.namespace, manager.name)
        return _deployments(view, replica_set) if replica_set is not None else []

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """One step of the rollout; its effects come back as events and make the next one."""
        item = view["deployments.apps"].by_key(key)
        if item is None:
            return []
        deployment = item.decode(Deployment)
        selector = labels.from_label_selector(deployment.spec.selector)
        if not selector.requirements:
            return []
        claim = claims.claim(DEPLOYMENTS, deployment.metadata, selector, view["replicasets.apps"])
        replica_sets = [claimed.decode(ReplicaSet) for claimed in claim.items]
        step = _Step(deployment, replica_sets, view, now)
        return [*claim.commands, *step.decide()]


def _deployments(view: View, item: Item) -> list[str]:
    """The Deployment of a ReplicaSet, or all that might adopt it."""
    manager = item.controller
    if manager is not None:
        return [f"{item.namespace}/{manager.name}"] if manager.kind == "Deployment" else []
    return [deployment.key for deployment in view["deployments.apps"].list(item.namespace)]


class _Step:
    """One reconcile: the decoded objects, and what has been decided about them so far.

    Deciding changes these private copies; `_writes` turns the changes into commands.
    """

    def __init__(
        self, deployment: Deployment, replica_sets: list[ReplicaSet], view: View, now: datetime
    ) -> None:
        self.deployment = deployment
        self.before = deployment.status
        self.view = view
        self.now = now
        self.new = revisions.find_new(deployment, replica_sets)
        self.old = [rs for rs in replica_sets if rs is not self.new]
        self.sizes_before = {rs.metadata.name: rollout.size(rs) for rs in replica_sets}
        self.changed: dict[str, ReplicaSet] = {}
        self.created = False
        self.deletes: list[Command] = []
        self.warnings: list[Command] = []

    @property
    def everything(self) -> list[ReplicaSet]:
        """All ReplicaSets, the new one last."""
        return [*self.old, *([self.new] if self.new is not None else [])]

    def decide(self) -> list[Command]:
        """What to do: size the ReplicaSets, then tell how far things are."""
        deployment = self.deployment
        if deployment.metadata.deletionTimestamp:
            return self._status(self._numbers())
        deployment.status = _with_conditions(self.before, progress.pause(deployment, self.now))
        self._adjust_new()
        # A Deployment that was scaled in the middle of a rollout first spreads its new size over
        # all its ReplicaSets. Were it to roll at once, every pod that is added would be of the new
        # template, which may turn out to be a bad one.
        if deployment.spec.paused or rollout.was_scaled(deployment, self.everything):
            for replica_set, size in rollout.proportional(deployment, self.new, self.old):
                self._resize(replica_set, size)
            if deployment.spec.paused:
                self._clean_up()
            return self._writes(self._numbers())
        if deployment.spec.strategy.type == "Recreate":
            self._recreate()
        else:
            self._roll()
        return self._writes(self._progress())

    def _adjust_new(self) -> None:
        """Keep the annotations and minReadySeconds of a new ReplicaSet that exists."""
        new, deployment = self.new, self.deployment
        if new is None:
            return
        annotated = revisions.annotate(deployment, new, self.old)
        if annotated or new.spec.minReadySeconds != deployment.spec.minReadySeconds:
            new.spec.minReadySeconds = deployment.spec.minReadySeconds
            self.changed[new.metadata.name] = new
        if conditions.find(deployment.status.conditions, "Progressing") is None:
            self._note("FoundNewReplicaSet", f'Found new replica set "{new.metadata.name}"')

    def _note(self, reason: str, message: str, status: str = "True") -> None:
        """Set the condition Progressing, where progress is watched."""
        deployment = self.deployment
        if progress.has_deadline(deployment):
            deployment.status.conditions = progress.put(
                deployment.status.conditions, "Progressing", status, reason, message, now=self.now
            )

    def _roll(self) -> None:
        """Grow the new ReplicaSet if there is room; else shrink old ones if that is safe."""
        deployment = self.deployment
        if self.new is None and not self._create_new():
            return
        assert self.new is not None
        size = rollout.new_size(deployment, self._pods(), self.new)
        # One direction a round: old ReplicaSets shrink by pods that are seen to be available, not
        # by those that this round asks for.
        if not self.created and size != rollout.size(self.new):
            self._resize(self.new, size)
            return
        active = [rs for rs in self.old if rollout.size(rs) > 0]
        shrunk = rollout.shrink_old(deployment, active, self.new) if active else []
        for replica_set, size in shrunk:
            self._resize(replica_set, size)
        if not shrunk and progress.is_complete(deployment, self.before):
            self._clean_up()

    def _recreate(self) -> None:
        """Shrink all old ReplicaSets to nothing; make new pods once the old ones are gone."""
        active = [rs for rs in self.old if rollout.size(rs) > 0]
        for replica_set in active:
            self._resize(replica_set, 0)
        if active or self._has_old_pods() or (self.new is None and not self._create_new()):
            return
        assert self.new is not None
        self._resize(self.new, rollout.wanted(self.deployment))
        if progress.is_complete(self.deployment, self.before):
            self._clean_up()

    def _has_old_pods(self) -> bool:
        """Whether an old ReplicaSet counts pods, or one of its pods has not ended yet."""
        pods = self.view["pods"]
        return any(rs.status.replicas for rs in self.old) or any(
            item.decode(Pod).status.phase not in ("Succeeded", "Failed")
            for rs in self.old
            for item in pods.owned_by(rs.metadata.uid)
        )

    def _pods(self) -> int:
        """How many pods there are, or will be by the sizes of the ReplicaSets."""
        return sum(
            max(rollout.size(rs), self._active_pods(rs.metadata.uid)) for rs in self.everything
        )

    def _active_pods(self, uid: str) -> int:
        owned = self.view["pods"].owned_by(uid) if uid else []
        return sum(i.phase not in ("Succeeded", "Failed") and not i.deleting for i in owned)

    def _create_new(self) -> bool:
        """Make the new ReplicaSet; False when its name is taken and another hash is needed."""
        deployment = self.deployment
        new = revisions.make_new(deployment, self.old)
        taken = self.view["replicasets.apps"].get(new.metadata.namespace, new.metadata.name)
        if taken is not None:
            # Another template has the same hash. The count is a part of what is hashed, so that the
            # next round, which sees it in the status, gets another name.
            deployment.status.collisionCount = (deployment.status.collisionCount or 0) + 1
            return False
        self.new, self.created = new, True
        size = rollout.new_size(deployment, self._pods(), new)
        self._resize(new, size, force=True)
        return True

    def _resize(self, replica_set: ReplicaSet, size: int, *, force: bool = False) -> None:
        """Give a ReplicaSet a size, and the annotations that later scaling goes by."""
        deployment, notes = self.deployment, replica_set.metadata.annotations
        wanted = {
            rollout.DESIRED: str(rollout.wanted(deployment)),
            rollout.MAXIMUM: str(rollout.maximum(deployment)),
        }
        same = all(notes.get(key) == value for key, value in wanted.items())
        if rollout.size(replica_set) == size and same and not force:
            return
        replica_set.spec.replicas = size
        notes.update(wanted)
        self.changed[replica_set.metadata.name] = replica_set

    def _clean_up(self) -> None:
        """Delete what is beyond the revision history limit."""
        for replica_set in revisions.surplus(self.deployment, self.old):
            meta = replica_set.metadata
            self.deletes.append(
                Delete(
                    resource=REPLICA_SETS,
                    namespace=meta.namespace,
                    name=meta.name,
                    uid=meta.uid,
                    reason=f"revision {revisions.number(replica_set)} is beyond the history limit",
                    propagation_policy="Background",
                )
            )

    def _numbers(self) -> DeploymentStatus:
        """The status with numbers and Available."""
        existing = [] if self.created else [self.new] if self.new else []
        status = progress.numbers(
            self.deployment, self.everything, existing[0] if existing else None
        )
        return _with_conditions(status, progress.available(self.deployment, status, self.now))

    def _progress(self) -> DeploymentStatus:
        """The status of a rollout: also Progressing and ReplicaFailure."""
        deployment = self.deployment
        key = f"{deployment.metadata.namespace}/{deployment.metadata.name}"
        refused = self.view.failure(key)
        if self.created and self.new is not None:
            name = self.new.metadata.name
            if refused is not None and refused.verb == "create":
                text = f'Failed to create new replica set "{name}": {refused.message}'
                self._note("ReplicaSetCreateError", text, "False")
                self.warnings.append(self._event("Warning", "ReplicaSetCreateError", text))
            else:
                self._note("NewReplicaSetCreated", f'Created new replica set "{name}"')
        status = self._numbers()
        status.conditions = progress.progressing(
            deployment, self.before, status, self.new, now=self.now
        )
        status.conditions = progress.failure(status.conditions, self.everything, self.new)
        return status

    def _writes(self, status: DeploymentStatus) -> list[Command]:
        """Everything decided, as commands: ReplicaSets, then the Deployment itself."""
        commands: list[Command] = []
        for replica_set in self.changed.values():
            commands += self._write(replica_set)
        told = self._tell_revision() or self._status(status)
        key = f"{self.deployment.metadata.namespace}/{self.deployment.metadata.name}"
        # The first refusal ends a round. Where one is to be expected, the status goes first: it
        # says what is refused.
        if self.view.failure(key) is not None:
            commands = [*told, *commands]
        else:
            commands += told
        return [*self.warnings, *commands, *self.deletes, *self._deadline(status)]

    def _write(self, replica_set: ReplicaSet) -> list[Command]:
        """Create or update a ReplicaSet, with the Event that tells of a new size."""
        name, size = replica_set.metadata.name, rollout.size(replica_set)
        before = self.sizes_before.get(name, 0)
        way = "up" if size > before else "down"
        message = f"Scaled {way} replica set {name} from {before} to {size}"
        event = self._event("Normal", "ScalingReplicaSet", message)
        events: list[Command] = [event] if size != before else []
        if name in self.sizes_before:
            reason = message if events else f"annotations of replica set {name}"
            return [Update(resource=REPLICA_SETS, body=replica_set, reason=reason), *events]
        namespace = replica_set.metadata.namespace
        reason = f"new template of deployment {self.deployment.metadata.name}"
        create = Create(resource=REPLICA_SETS, namespace=namespace, body=replica_set, reason=reason)
        return [create, *events]

    def _event(self, kind: str, reason: str, message: str) -> Event:
        about = reference(DEPLOYMENTS.api_version, DEPLOYMENTS.kind, self.deployment.metadata)
        return Event(about=about, type=kind, reason=reason, message=message)

    def _tell_revision(self) -> list[Command]:
        """Copy the new ReplicaSet's revision; the status is written on the next round then.

        By the path of the status: an annotation that is written otherwise counts as a change of
        the Deployment, and its generation would grow by each rollout of its own accord.
        """
        meta = self.deployment.metadata
        known = self.new.metadata.annotations.get(revisions.REVISION, "") if self.new else ""
        if not known or self.created or meta.annotations.get(revisions.REVISION) == known:
            return []
        patch = {"metadata": {"uid": meta.uid, "annotations": {revisions.REVISION: known}}}
        return [
            Patch(
                resource=DEPLOYMENTS,
                namespace=meta.namespace,
                name=meta.name,
                patch=patch,
                reason=f"revision {known}",
                subresource="status",
            )
        ]

    def _status(self, status: DeploymentStatus) -> list[Command]:
        if status == self.before:
            return []
        self.deployment.status = status
        counts = f"{status.updatedReplicas} updated, {status.availableReplicas} available"
        return [
            Update(
                resource=DEPLOYMENTS,
                body=self.deployment,
                reason=f"{status.replicas} pods, {counts}",
                subresource="status",
            )
        ]

    def _deadline(self, status: DeploymentStatus) -> list[Command]:
        """Look again when lack of progress would have to be told."""
        current = conditions.find(status.conditions, "Progressing")
        settled = ("NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused")
        if current is None or current.reason in settled:
            return []
        left = progress.seconds_left(self.deployment, current, self.now)
        return [Requeue(after_seconds=max(left, 0) + 1, reason="progress deadline")]


def _with_conditions(status: DeploymentStatus, new: progress.Conditions) -> DeploymentStatus:
    """A copy of a status with other conditions."""
    return msgspec.structs.replace(status, conditions=new)
