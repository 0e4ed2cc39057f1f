"""The scheme: every kind and resource that is served, found by any of its names.

Made from the static index of the generated code. Routes, discovery, OpenAPI, codec and storage
keys ask it at request time, so that kinds can come and go while the server runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import msgspec

from common.api.index import KINDS, RESOURCES
from common.api.resource import Kind, Resource

GROUP_ORDER = (
    "",
    "apps",
    "events.k8s.io",
    "autoscaling",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "metrics.k8s.io",
)


class Scheme:
    """Kinds by apiVersion and name, resources by group, version and plural."""

    def __init__(self, kinds: Iterable[Kind] = KINDS, resources: Iterable[Resource] = RESOURCES):
        self._kinds = {(kind.api_version, kind.name): kind for kind in kinds}
        self._by_path = {(r.group, r.version, r.plural): r for r in resources}
        self._by_kind = {(r.api_version, r.kind): r for r in self._by_path.values()}
        self._structs: dict[tuple[str, str], type[msgspec.Struct]] = {}
        """Of kinds that the generated code does not have."""

    def add(self, resource: Resource, struct: type[msgspec.Struct] | None = None) -> None:
        """Serve a resource from now on; `struct` is its kind's when the index has none."""
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.api_version, resource.kind] = resource
        if struct is not None:
            self._structs[resource.api_version, resource.kind] = struct

    def remove(self, resource: Resource) -> None:
        """Serve a resource no longer."""
        self._by_path.pop((resource.group, resource.version, resource.plural), None)
        self._by_kind.pop((resource.api_version, resource.kind), None)
        self._structs.pop((resource.api_version, resource.kind), None)

    def kind(self, api_version: str, name: str) -> Kind | None:
        """The kind, or None when it is not known."""
        return self._kinds.get((api_version, name))

    def kinds(self) -> list[Kind]:
        """Every kind, served by a resource or not."""
        return list(self._kinds.values())

    def resource(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource of a path such as /apis/apps/v1/deployments, or None."""
        return self._by_path.get((group, version, plural))

    def require(self, group: str, version: str, plural: str) -> Resource:
        """A resource that the program itself names; raises LookupError when nobody serves it."""
        resource = self.resource(group, version, plural)
        if resource is None:
            raise LookupError(f"no resource {plural} in {group or 'core'}/{version}")
        return resource

    def resource_of(self, api_version: str, kind: str) -> Resource | None:
        """The resource that serves a kind, or None."""
        return self._by_kind.get((api_version, kind))

    def find(self, word: str) -> Resource | None:
        """The resource that a person means by plural, singular, short name or kind."""
        wanted, _, group = word.lower().partition(".")
        for resource in self.resources():
            known = (resource.plural, resource.singular, *resource.short_names)
            if wanted in known and group in ("", resource.group):
                return resource
        return None

    def resources(self) -> list[Resource]:
        """Every resource, groups in the order in which clients prefer them."""
        order = {group: number for number, group in enumerate(GROUP_ORDER)}
        return sorted(
            self._by_path.values(),
            key=lambda r: (order.get(r.group, len(order)), r.group, r.version, r.plural),
        )

    def groups(self) -> list[tuple[str, list[str]]]:
        """Every group with its versions, the preferred first; the core group is ''."""
        by_group: dict[str, list[str]] = {}
        for resource in self.resources():
            versions = by_group.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return list(by_group.items())

    def struct(self, api_version: str, name: str) -> type[msgspec.Struct]:
        """The Struct of a kind; raises KeyError when the kind is not known."""
        if (api_version, name) in self._structs:
            return self._structs[api_version, name]
        kind = self._kinds[(api_version, name)]
        module = importlib.import_module(f"common.api.types.{kind.module}")
        struct_class: Any = getattr(module, name)
        return struct_class  # type: ignore[no-any-return]

    def struct_of(self, resource: Resource) -> type[msgspec.Struct]:
        """The Struct of a resource's kind."""
        return self.struct(resource.api_version, resource.kind)


SCHEME = Scheme()
"""The scheme of the built-in kinds."""
