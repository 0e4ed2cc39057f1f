"""The catalogue: each resource once, with all that is true of it.

The .proto options say what it is called and what it offers. Here that is joined by its rules, its
cells, the fields that selectors may name, and who answers for it and for its subresources. Calls,
discovery, OpenAPI, tables and informers look here whenever they are asked: a resource that is added
while the master runs is served from then on. Resources are told apart by group and plural: kinds of
several groups may have one name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from common.api import errors
from common.api.fields import Fields
from common.api.resource import Column, Resource
from common.api.scheme import Scheme
from master.apiserver.registry.handler import Cells, Handler, Shown
from master.apiserver.registry.strategy import Settings, Strategy

_NAME_AND_AGE = (Column("Name", "string", "", 0), Column("Age", "string", "", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceDef:
    """One resource of the API."""

    resource: Resource
    strategy: Strategy
    handler: Handler
    subresources: Mapping[str, Handler] = field(default_factory=dict)
    """Those that are answered; the .proto file may name others."""
    cells: Cells | None = None
    fields: Fields = field(default_factory=dict)
    """What field selectors may name beside name and namespace."""
    struct: type[msgspec.Struct] | None = None
    """Of a kind that the generated code does not have."""

    @property
    def shown(self) -> Shown:
        """How its objects are shown; those without columns of their own by name and age."""
        return Shown(self.resource.columns or _NAME_AND_AGE, self.cells)

    @property
    def is_stored(self) -> bool:
        """Whether objects of its own are stored and can be watched."""
        return self.handler.stores(self.resource) and "watch" in self.resource.verbs

    def kind_of(self, subresource: str) -> tuple[str, str]:
        """(apiVersion, kind) of what is read and written at a subresource."""
        declared = self.resource.subresource(subresource)
        kind = declared.kind if declared else self.resource.kind
        own = self.subresources[subresource].api_version
        return own or self.resource.api_version, kind


class Rules(NamedTuple):
    """What is a kind's own; a kind without any is shown and selected by its name."""

    strategy: type[Strategy] = Strategy
    cells: Cells | None = None
    fields: Fields | None = None

    def definition(
        self,
        resource: Resource,
        settings: Settings,
        handler: Handler,
        subresources: Mapping[str, Handler],
    ) -> ResourceDef:
        """The definition of a resource that has these rules."""
        return ResourceDef(
            resource=resource,
            strategy=self.strategy.of(resource, settings),
            handler=handler,
            subresources=subresources,
            cells=self.cells,
            fields=self.fields or {},
        )


class Catalogue:
    """The resources that are served now."""

    def __init__(self, scheme: Scheme) -> None:
        """The scheme follows the catalogue; at first it has the kinds of the generated code."""
        self.scheme = scheme
        self._definitions: dict[tuple[str, str], ResourceDef] = {}
        self._followers: list[Callable[[Resource], None]] = []

    def add(self, definition: ResourceDef) -> None:
        """Serve a resource, in place of one that has its name."""
        resource = definition.resource
        if (former := self.get(resource)) is not None:
            self.scheme.remove(former.resource)
        self.scheme.add(resource, definition.struct)
        self._definitions[resource.group, resource.plural] = definition
        self._changed(resource)

    def remove(self, resource: Resource) -> None:
        """Serve a resource no longer; what is stored of it stays."""
        self.scheme.remove(resource)
        self._definitions.pop((resource.group, resource.plural), None)
        self._changed(resource)

    def follow(self, follower: Callable[[Resource], None]) -> None:
        """Call with each resource that is added, changed or removed from now on."""
        self._followers.append(follower)

    def _changed(self, resource: Resource) -> None:
        for follower in self._followers:
            follower(resource)

    def get(self, resource: Resource) -> ResourceDef | None:
        """The definition of a resource, or None."""
        return self._definitions.get((resource.group, resource.plural))

    def require(self, resource: Resource) -> ResourceDef:
        """The same; raises StatusError 404 when it is not served."""
        definition = self.get(resource)
        if definition is None:
            raise errors.unknown_path()
        return definition

    def fields_of(self, resource: Resource) -> Fields:
        """What field selectors may name of a resource; raises StatusError 404."""
        return self.require(resource).fields

    def of(self, group: str, version: str) -> list[ResourceDef]:
        """The definitions of a group and version, in the scheme's order."""
        definitions = (self.get(resource) for resource in self.scheme.resources())
        served = (group, version)
        return [
            one
            for one in definitions
            if one and (one.resource.group, one.resource.version) == served
        ]
