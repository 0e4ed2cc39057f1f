"""Who manages what: adoption of matching orphans, release of what no longer matches.

Source: pkg/controller/controller_ref_manager.go of Kubernetes. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from common.api.labels import Selector
from common.api.resource import Resource
from common.api.types.meta_v1 import ObjectMeta, OwnerReference, PartialObjectMetadata
from common.client.commands import Command, Patch
from common.client.informer import Item
from master.controllers.base import Reader
from master.controllers.lib.pods import controller_reference


class Claims(NamedTuple):
    """What an object manages, counting what it adopts now, and the patches that make it so."""

    items: list[Item]
    commands: list[Command]


def claim(resource: Resource, owner: ObjectMeta, selector: Selector, among: Reader) -> Claims:
    """The objects that `owner` (an object of `resource`) manages among a lister's."""
    items: list[Item] = []
    commands: list[Command] = []
    candidates = {item.key: item for item in among.owned_by(owner.uid)}
    if selector.requirements:
        candidates |= {item.key: item for item in among.list(owner.namespace, selector)}
    for item in candidates.values():
        manager = item.controller
        matches = selector.matches(item.labels)
        if manager is not None and manager.uid == owner.uid:
            if matches:
                items.append(item)
            elif not owner.deletionTimestamp:
                commands.append(_release(item, owner, among.resource))
        elif manager is None and matches and _may_adopt(item, owner):
            items.append(item)
            commands.append(_adopt(item, owner, resource, among.resource))
    return Claims(items, commands)


def _may_adopt(item: Item, owner: ObjectMeta) -> bool:
    finished = item.phase in ("Succeeded", "Failed")
    return not item.deleting and not finished and not owner.deletionTimestamp


def references(item: Item) -> tuple[OwnerReference, ...]:
    """The whole owner references of an object of any kind."""
    return item.decode(PartialObjectMetadata).metadata.ownerReferences


def _adopt(item: Item, owner: ObjectMeta, resource: Resource, what: Resource) -> Command:
    """Add `owner` to the owners, as the controller among them."""
    new = controller_reference(resource.api_version, resource.kind, owner)
    owners = [o for o in references(item) if o.uid != owner.uid]
    reason = f"adopted by {resource.singular} {owner.name}"
    return set_owners(item, what, [*owners, new], reason)


def _release(item: Item, owner: ObjectMeta, what: Resource) -> Command:
    """Take `owner` out of the owners: the labels no longer match its selector."""
    owners = [o for o in references(item) if o.uid != owner.uid]
    return set_owners(item, what, owners, f"released by {owner.name}: its selector does not match")


def set_owners(item: Item, what: Resource, owners: list[OwnerReference], reason: str) -> Command:
    """A patch that replaces the owner references of exactly the object that was seen."""
    return Patch(
        resource=what,
        namespace=item.namespace,
        name=item.name,
        patch={"metadata": {**item.pin, "ownerReferences": msgspec.to_builtins(owners)}},
        reason=reason,
    )
