"""Strategy: the rules of one kind. Kinds without rules of their own use it as it is.

A strategy sees objects, never storage. The pipeline (`pipeline.py`) calls it in the order prepare,
default, validate; then `propose` until what it has chosen is free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, ClassVar, NamedTuple, Self

import msgspec

from common.api import errors, names
from common.api.errors import FieldError
from common.api.resource import Resource
from common.api.types.meta_v1 import ObjectMeta
from common.runtime.clock import Clock
from master.storage.store import Allocation

SYSTEM_ANNOTATIONS_MAX_BYTES = 256 << 10


class Settings(NamedTuple):
    """What rules may depend on beside objects."""

    cluster_cidr: str
    service_cidr: str
    clock: Clock


class Strategy:
    """Defaults, preparation and validation of one kind; this base serves any kind."""

    generation: ClassVar[bool] = False
    """Whether metadata.generation counts changes of the spec."""
    unconditional_update: ClassVar[bool] = True
    """Whether an update may leave the resourceVersion out."""
    has_dependents: ClassVar[bool] = True
    """Whether objects of this kind can own others: if not, a delete asks nothing of the collector.
    """
    propagation_policy: ClassVar[str] = "Background"
    """What becomes of the dependents when a delete does not say."""
    delete_answers_object: ClassVar[bool] = False
    """Whether a deletion answers the object as it last was; else it answers a Status."""
    ttl_seconds: ClassVar[int | None] = None
    """Life time of objects of this kind; None lives until it is deleted."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    @classmethod
    def of(cls, resource: Resource, settings: Settings) -> Self:
        """The rules of a resource; a kind takes from the settings what it needs."""
        return cls(resource)

    def name_problems(self, name: str) -> list[str]:
        """What is wrong with `name` for this kind."""
        return names.dns_subdomain(name)

    def default(self, obj: Any) -> None:
        """Fill in what the user left out."""

    def prepare_create(self, obj: Any) -> None:
        """Remove what a client may not set on create: a status that has a path of its own."""
        if self.resource.has_status and self.resource.subresource("status"):
            obj.status = _empty_like(obj.status)
        if self.generation:
            obj.metadata.generation = 1

    def prepare_update(self, new: Any, old: Any) -> None:
        """Keep what an update may not change; count the generation."""
        if self.resource.has_status and self.resource.subresource("status"):
            new.status = old.status
        new.metadata.generation = old.metadata.generation
        if self.generation and self.spec_changed(new, old):
            new.metadata.generation += 1

    def prepare_status_update(self, new: Any, old: Any) -> None:
        """Keep everything but the status (and the metadata that a status update may change)."""
        new.metadata.generation = old.metadata.generation
        new.metadata.ownerReferences = old.metadata.ownerReferences
        for name in new.__struct_fields__:
            if name not in ("apiVersion", "kind", "metadata", "status"):
                setattr(new, name, getattr(old, name))

    def spec_changed(self, new: Any, old: Any) -> bool:
        """Whether anything but metadata and status differs."""
        return any(
            getattr(new, name) != getattr(old, name)
            for name in new.__struct_fields__
            if name not in ("apiVersion", "kind", "metadata", "status")
        )

    def validate(self, obj: Any) -> list[FieldError]:
        """What is wrong with the object, on create and on update."""
        return []

    def validate_update(self, new: Any, old: Any) -> list[FieldError]:
        """What of a change is not allowed; called after `validate` found nothing."""
        return []

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """What of a change of status is not allowed."""
        return []

    def warnings(self, obj: Any, old: Any = None) -> list[str]:
        """What the user should know although the object, or the change of `old`, is accepted."""
        if self.resource.inert:
            return [f"{self.resource.kind} is stored; nothing acts on it yet"]
        return []

    def grace_period_seconds(self, obj: Any, asked: int | None) -> int:
        """How long the object stays, deleting, after its deletion; 0 removes it at once."""
        return 0

    def check_delete(self, obj: Any) -> None:
        """Raise StatusError 403 for an object that must stay."""

    def propose(self, obj: Any, taken: Collection[str]) -> None:
        """Choose values that no other object may have (addresses), none of `taken`."""

    def allocations(self, obj: Any) -> list[Allocation]:
        """The allocator keys that the object holds."""
        return []

    def released(self, obj: Any) -> list[Allocation]:
        """Those of them that others may have when the object is gone."""
        return self.allocations(obj)

    def already_taken(self, obj: Any, key: str) -> FieldError:
        """What to say of a value that the writer asked for and another object has."""
        return errors.forbidden("spec", f"{key} is already allocated")


def _empty_like(value: Any) -> Any:
    """A new status of the same type; the lists and maps of None stay None."""
    return type(value)() if isinstance(value, msgspec.Struct) else value


def validate_metadata(meta: ObjectMeta, strategy: Strategy) -> Iterator[FieldError]:
    """Rules for the metadata of every kind."""
    if meta.generateName:
        for text in strategy.name_problems(names.prefix_as_name(meta.generateName)):
            yield errors.invalid("metadata.generateName", meta.generateName, text)
    if not meta.name:
        yield errors.required("metadata.name", "name or generateName is required")
    else:
        for text in strategy.name_problems(meta.name):
            yield errors.invalid("metadata.name", meta.name, text)
    if strategy.resource.namespaced and not meta.namespace:
        yield errors.required("metadata.namespace", "")
    if meta.generation < 0:
        text = "must be greater than or equal to 0"
        yield errors.invalid("metadata.generation", meta.generation, text)
    yield from validate_labels(meta.labels, "metadata.labels")
    yield from validate_annotations(meta.annotations, "metadata.annotations")
    yield from _finalizers(meta.finalizers)
    yield from _owners(meta)


def validate_labels(labels: dict[str, str], path: str) -> Iterator[FieldError]:
    """Rules for labels, wherever they stand."""
    for key, value in labels.items():
        for text in names.qualified_name(key):
            yield errors.invalid(path, key, text)
        for text in names.label_value(value):
            yield errors.invalid(path, value, text)


def validate_annotations(annotations: dict[str, str], path: str) -> Iterator[FieldError]:
    """Rules for annotations, wherever they stand."""
    for key in annotations:
        for text in names.qualified_name(key.lower()):
            yield errors.invalid(path, key, text)
    size = sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items())
    if size > SYSTEM_ANNOTATIONS_MAX_BYTES:
        yield errors.too_long(path, SYSTEM_ANNOTATIONS_MAX_BYTES)


def _finalizers(finalizers: tuple[str, ...]) -> Iterator[FieldError]:
    for number, name in enumerate(finalizers):
        path = f"metadata.finalizers[{number}]"
        for text in names.qualified_name(name):
            yield errors.invalid(path, name, text)
        if "/" not in name and name not in ("orphan", "foregroundDeletion", "kubernetes"):
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield errors.invalid(path, name, text)
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        yield errors.invalid("metadata.finalizers", list(finalizers), text)


def _owners(meta: ObjectMeta) -> Iterator[FieldError]:
    controllers = 0
    for number, owner in enumerate(meta.ownerReferences):
        path = f"metadata.ownerReferences[{number}]"
        for name in ("apiVersion", "kind", "name", "uid"):
            if not getattr(owner, name):
                yield errors.invalid(f"{path}.{name}", "", "must not be empty")
        controllers += bool(owner.controller)
    if controllers > 1:
        text = "Only one reference can have Controller set to true"
        yield errors.invalid("metadata.ownerReferences", controllers, text)


def validate_metadata_update(new: ObjectMeta, old: ObjectMeta) -> list[FieldError]:
    """Metadata that no update may change; what a client left out has been filled in before."""
    findings = []
    for name in ("name", "namespace", "uid", "creationTimestamp"):
        value = getattr(new, name)
        if value != getattr(old, name):
            text = "field is immutable"
            findings.append(errors.invalid(f"metadata.{name}", value, text))
    if old.deletionTimestamp:
        added = sorted(set(new.finalizers) - set(old.finalizers))
        if added:
            text = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{', '.join(map(_quote, added))}}}"
            )
            findings.append(errors.forbidden("metadata.finalizers", text))
    return findings


def _quote(text: str) -> str:
    return f'"{text}"'
