"""Deletes what has lost its owners, in the order that the deletion of the owner asked for.

An owner that an informer does not show may merely be news to it: absence counts only when that
informer is as far as the dependent's own revision. A key is `resource:namespace/name`. Source:
https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and
pkg/controller/garbagecollector of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import ClassVar, NamedTuple

import msgspec

from common.api.resource import Resource
from common.api.types.meta_v1 import ObjectMeta, OwnerReference, PartialObjectMetadata
from common.client.commands import Command, Delete, Event, Patch, Requeue
from common.client.events import reference
from common.client.informer import Item
from master.controllers.base import Reader, View
from master.controllers.lib.claims import set_owners

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
LAG_SECONDS = 1.0


class _Object(NamedTuple):
    """An object with the resource it is of."""

    resource: Resource
    item: Item

    @property
    def key(self) -> str:
        """`resource:namespace/name`."""
        return f"{self.resource.group_resource}:{self.item.key}"


class _Owners(NamedTuple):
    """The owner references of an object, by what has become of the owners."""

    solid: list[OwnerReference]
    gone: list[OwnerReference]
    waiting: list[OwnerReference]
    """Owners in foreground deletion, which wait for their dependents."""
    unclear: bool
    """An informer is behind: whether an owner is gone cannot be told yet."""
    elsewhere: list[OwnerReference]
    """Owners that exist in another namespace, which is not allowed; they also count as solid."""


class GarbageCollector:
    """One key is one object: as a dependent that may have to go, or as an owner that waits."""

    name: ClassVar[str] = "garbagecollector"
    account: ClassVar[str] = "generic-garbage-collector"
    watches: ClassVar[Sequence[str]] = ("*",)

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The object; its dependents when it goes; its owners when it no longer is theirs."""
        keys: set[str] = set()
        if new is not None and (new.owners or new.deleting):
            keys.add(_Object(resource, new).key)
        if old is not None and (new is None or new.deleting or new.uid != old.uid):
            keys |= {dependent.key for dependent in _dependents(view, old.uid)}
        if old is not None and old.owners and (new is None or new.owners != old.owners):
            keys |= {owner.key for owner in _waiting_owners(view, old)}
        return keys

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Decide about one object."""
        name, _, rest = key.partition(":")
        if name not in view:
            return []
        item = view[name].by_key(rest)
        if item is None:
            return []
        it = _Object(view[name].resource, item)
        meta = item.decode(PartialObjectMetadata).metadata
        if not item.deleting:
            return _as_dependent(it, meta, view) if meta.ownerReferences else []
        if ORPHAN in meta.finalizers:
            return _orphan(it, meta, view)
        if FOREGROUND in meta.finalizers:
            return _foreground(it, meta, view)
        return []


def _dependents(view: View, uid: str) -> Iterator[_Object]:
    """All objects that name `uid` among their owners."""
    for reader in view:
        for item in reader.owned_by(uid):
            yield _Object(reader.resource, item)


def _waiting_owners(view: View, item: Item) -> Iterator[_Object]:
    """The owners of an object that are being deleted."""
    for owner in item.owners:
        for reader in view:
            namespace = item.namespace if reader.resource.namespaced else ""
            owner_item = reader.get(namespace, owner.name)
            if owner_item is not None and owner_item.uid == owner.uid and owner_item.deleting:
                yield _Object(reader.resource, owner_item)


def _as_dependent(it: _Object, meta: ObjectMeta, view: View) -> list[Command]:
    """Delete an object that no owner holds any more, or drop the references that lead nowhere."""
    owners = _classify(it, meta, view)
    commands: list[Command] = [_invalid(it, meta, ref) for ref in owners.elsewhere]
    if owners.unclear:
        return [*commands, Requeue(after_seconds=LAG_SECONDS, reason="an informer is behind")]
    if not owners.gone and not owners.waiting:
        return commands
    if owners.solid:
        reason = f"{len(owners.gone) + len(owners.waiting)} owners are gone"
        return [*commands, set_owners(it.item, it.resource, owners.solid, reason)]
    dependents = list(_dependents(view, it.item.uid))
    policy = "Background"
    if owners.waiting and dependents:
        policy = "Foreground"
        if any(dependent.item.deleting for dependent in dependents):
            commands += _unblock(it, meta)
    elif ORPHAN in meta.finalizers:
        policy = "Orphan"
    return [*commands, _delete(it, policy)]


def _classify(it: _Object, meta: ObjectMeta, view: View) -> _Owners:
    owners = _Owners([], [], [], False, [])
    unclear = False
    for ref in meta.ownerReferences:
        reader = view.of_kind(ref.apiVersion, ref.kind)
        if reader is None:
            owners.solid.append(ref)
            continue
        resource = reader.resource
        namespace = it.item.namespace if resource.namespaced else ""
        item = reader.get(namespace, ref.name)
        if item is not None and item.uid == ref.uid:
            finalizers = item.deleting and item.decode(PartialObjectMetadata).metadata.finalizers
            waiting = finalizers and FOREGROUND in finalizers
            (owners.waiting if waiting else owners.solid).append(ref)
        elif resource.namespaced and _is_elsewhere(reader, ref, it.item.namespace):
            owners.solid.append(ref)
            owners.elsewhere.append(ref)
        elif reader.revision < it.item.revision:
            unclear = True
        else:
            owners.gone.append(ref)
    return owners._replace(unclear=unclear)


def _is_elsewhere(reader: Reader, ref: OwnerReference, namespace: str) -> bool:
    """Whether an owner is in another namespace than the object that names it."""
    item = reader.by_uid(ref.uid)
    return item is not None and item.name == ref.name and item.namespace != namespace


def _invalid(it: _Object, meta: ObjectMeta, ref: OwnerReference) -> Command:
    where = f'namespace "{it.item.namespace}"' if it.item.namespace else "the cluster scope"
    who = f"[{ref.apiVersion}/{ref.kind}, name: {ref.name}, uid: {ref.uid}]"
    return Event(
        about=reference(it.resource.api_version, it.resource.kind, meta),
        type="Warning",
        reason="OwnerRefInvalidNamespace",
        message=f"ownerRef {who} does not exist in {where}",
    )


def _unblock(it: _Object, meta: ObjectMeta) -> list[Command]:
    """Break a circle of objects that wait for each other: this one blocks its owners no more."""
    if not any(ref.blockOwnerDeletion for ref in meta.ownerReferences):
        return []
    free = [msgspec.structs.replace(ref, blockOwnerDeletion=False) for ref in meta.ownerReferences]
    return [set_owners(it.item, it.resource, free, "owners would wait for each other")]


def _delete(it: _Object, policy: str) -> Command:
    item = it.item
    return Delete(
        resource=it.resource,
        namespace=item.namespace,
        name=item.name,
        uid=item.uid,
        reason=f"no owner of {it.resource.singular} {item.name} is left",
        propagation_policy=policy,
    )


def _orphan(it: _Object, meta: ObjectMeta, view: View) -> list[Command]:
    """Take the object out of its dependents' owners; then let it go."""
    dependents = list(_dependents(view, it.item.uid))
    if not dependents:
        return [_remove_finalizer(it, meta, ORPHAN)]
    commands: list[Command] = []
    for dependent in dependents:
        refs = dependent.item.decode(PartialObjectMetadata).metadata.ownerReferences
        left = [ref for ref in refs if ref.uid != it.item.uid]
        reason = f"orphaned by {it.item.name}"
        commands.append(set_owners(dependent.item, dependent.resource, left, reason))
    return commands


def _foreground(it: _Object, meta: ObjectMeta, view: View) -> list[Command]:
    """Let the object go when no dependent blocks it any more; those look after themselves."""
    for dependent in _dependents(view, it.item.uid):
        refs = dependent.item.decode(PartialObjectMetadata).metadata.ownerReferences
        if any(ref.uid == it.item.uid and ref.blockOwnerDeletion for ref in refs):
            return []
    return [_remove_finalizer(it, meta, FOREGROUND)]


def _remove_finalizer(it: _Object, meta: ObjectMeta, finalizer: str) -> Command:
    """Remove a finalizer from exactly the object that was seen."""
    left = [name for name in meta.finalizers if name != finalizer]
    return Patch(
        resource=it.resource,
        namespace=it.item.namespace,
        name=it.item.name,
        patch={"metadata": {**it.item.pin, "finalizers": left}},
        reason=f"{finalizer} is done",
    )
