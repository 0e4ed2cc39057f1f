"""What controllers of objects that every namespace has ask of namespaces. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from common.api.resource import Resource
from common.client.informer import Item
from master.controllers.base import View


def active(view: View, name: str) -> bool:
    """Whether a namespace exists and is not on its way out."""
    space = view["namespaces"].get("", name)
    return space is not None and not space.deleting


def namespace_of(
    resource: Resource, old: Item | None, new: Item | None, name: str
) -> Iterable[str]:
    """The namespace that a change is about: its own, or that of the one object named `name`."""
    item = new or old
    if item is None:
        return []
    if resource.plural == "namespaces":
        return [item.name]
    return [item.namespace] if item.name == name else []
