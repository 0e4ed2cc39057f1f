"""The write pipeline of every kind, and deletion.

An object is defaulted, changed by mutating admission and defaulted again, so that what admission
adds is complete, too; then its strategy prepares it, by which nobody can set what only the server
sets; then it is validated, by its strategy and by validating admission, and stored.

One request is one transaction on one object. Conflicting writers are told 409 when they named a
resourceVersion; otherwise the pipeline applies their change again to what is there now.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from common.api import errors, names, times
from common.api.codec import foreign
from common.api.codec import json as codec
from common.api.codec.foreign import Foreign
from common.api.errors import FieldError
from common.api.resource import Resource
from common.api.scheme import Scheme
from common.api.types.meta_v1 import ObjectMeta
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from common.runtime.rng import Rng
from master.apiserver.registry import deletion, translation
from master.apiserver.registry.admission import Admission
from master.apiserver.registry.catalogue import Catalogue
from master.apiserver.registry.freshness import fresh
from master.apiserver.registry.heavy import Heavy
from master.apiserver.registry.strategy import (
    Strategy,
    validate_metadata,
    validate_metadata_update,
)
from master.apiserver.request.bodies import NAMESPACE_MISMATCH
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions
from master.apiserver.request.target import Target
from master.storage import store as storage
from master.storage.entry import with_resource_version as splice
from master.storage.keys import InvalidKey, registry_key
from master.storage.store import Guard, KeyValue, Store, StoreError
from master.storage.watchcache import WatchCache

log = logging.getLogger(__name__)
OBJECT_MAX_BYTES = 1_500_000
ATTEMPTS_MAX = 16
FOR_THE_PIPELINE = (
    storage.KeyExists,
    storage.KeyNotFound,
    storage.Conflict,
    storage.AllocationTaken,
    storage.GuardFailed,
)
"""Refusals of a transaction that the pipeline acts on; others end the request."""

Change = Callable[[Any], Any]
"""Takes a fresh Struct of the current object, answers the Struct that it should become."""


class Pipeline:
    """Creates, updates and deletes objects of any kind."""

    def __init__(
        self,
        *,
        store: Store,
        cache: WatchCache,
        catalogue: Catalogue,
        admission: Admission,
        clock: Clock,
        rng: Rng,
        offload: Offload | None = None,
    ) -> None:
        """Without an Offload everything is done on the event loop, as simulations want it."""
        self.store = store
        self.cache = cache
        self.catalogue = catalogue
        self._admission = admission
        self.clock = clock
        self.rng = rng
        self.heavy = Heavy(offload)
        self._written = 0

    @property
    def scheme(self) -> Scheme:
        """The kinds that are served."""
        return self.catalogue.scheme

    def strategy(self, resource: Resource) -> Strategy:
        """The rules of a resource; raises StatusError 404 when it is not served."""
        return self.catalogue.require(resource).strategy

    def key(self, target: Target) -> str:
        """The storage key of an object; raises StatusError 404 for what cannot be a name."""
        resource = target.resource
        namespace = target.namespace if resource.namespaced else ""
        try:
            return registry_key(resource.group_resource, target.name, namespace)
        except InvalidKey as error:
            raise errors.not_found(resource, target.name) from error

    def backlog(self) -> int:
        """By how many revisions the cache is behind the last write here."""
        return max(0, self._written - self.cache.revision)

    def _stored(self, value: bytes, revision: int) -> bytes:
        """What a write answers: the object with the revision that it got."""
        # Not the greatest so far: in a store that was restored from a backup revisions are lower.
        self._written = revision
        return splice(value, revision)

    async def read(self, target: Target) -> KeyValue:
        """The object as of now, from the store; raises StatusError 404."""
        key, written = self.key(target), self._written
        async with _translated(target.resource, target.name):
            current, revision = await self.store.get(key)
        if revision < written:  # the store was restored, and that write is not in it
            self._written = revision
        if current is None:
            raise errors.not_found(target.resource, target.name)
        return current

    async def create(self, ctx: Context, target: Target, obj: Any) -> bytes:
        """Create an object from a decoded body; answers it as stored."""
        resource = target.resource
        strategy, meta = self.strategy(resource), obj.metadata
        self._fit_namespace(resource, meta, target.namespace)
        if meta.resourceVersion not in ("", "0"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        generated = not meta.name and bool(meta.generateName)
        self._initialise(meta)
        # Of a generated name that is taken another one is tried, as often as Kubernetes does
        # (KEP-4420); a name that the writer chose is tried once.
        for attempt in range(8):
            if generated:
                meta.name = names.generated(meta.generateName, self.rng.suffix())
            if attempt == 0:
                await self._mutate(ctx, target, obj, None, ctx.weight)
                await self.heavy(ctx.weight, strategy.prepare_create, obj)
            else:
                strategy.default(obj)  # what follows from the name
            await self.heavy(ctx.weight, _check, strategy, obj)
            await self._admission.validate(ctx, target, obj, None)
            try:
                return await self._store_new(ctx, strategy, obj)
            except storage.KeyExists as error:
                if not generated:
                    raise errors.already_exists(resource, meta.name) from error
        raise errors.already_exists(resource, meta.name)

    def _fit_namespace(self, resource: Resource, meta: ObjectMeta, namespace: str) -> None:
        """Take the namespace from the URL; the body may repeat it but not contradict it."""
        if not resource.namespaced:
            meta.namespace = ""
            return
        if meta.namespace and meta.namespace != namespace:
            raise errors.bad_request(NAMESPACE_MISMATCH)
        meta.namespace = namespace

    def _initialise(self, meta: ObjectMeta) -> None:
        """What the server alone decides of a new object's metadata."""
        meta.uid = self.rng.uuid()
        meta.creationTimestamp = times.to_time(self.clock.now())
        meta.deletionTimestamp = meta.deletionGracePeriodSeconds = None
        meta.resourceVersion = meta.selfLink = ""
        meta.generation = 0
        meta.managedFields = ()

    async def _mutate(self, ctx: Context, target: Target, new: Any, old: Any, weight: int) -> None:
        """Complete what the writer sent; admission sees it so, and what it adds is completed."""
        strategy = self.strategy(target.resource)
        await self.heavy(weight, strategy.default, new)
        await self._admission.mutate(ctx, target, new, old)
        await self.heavy(weight, strategy.default, new)

    async def _store_new(self, ctx: Context, strategy: Strategy, obj: Any) -> bytes:
        """Write a new object, with a free value for each thing that it allocates."""
        resource, meta = strategy.resource, obj.metadata
        key = self.key(Target(resource, meta.namespace, meta.name))
        ctx.warnings.add(await self.heavy(ctx.weight, strategy.warnings, obj))
        asked = {allocation.key for allocation in strategy.allocations(obj)}
        taken: set[str] = set()
        while True:
            strategy.propose(obj, taken)
            value = await self.heavy(ctx.weight, encode, obj)
            if ctx.dry_run:
                if self.cache.get(key) is not None:
                    raise errors.already_exists(resource, meta.name)
                return value
            try:
                async with _translated(resource, meta.name):
                    revision = await self.store.create(
                        key,
                        value,
                        guards=self._namespace_guard(resource, meta.namespace),
                        allocate=strategy.allocations(obj),
                        ttl_seconds=strategy.ttl_seconds,
                    )
                return self._stored(value, revision)
            except storage.AllocationTaken as error:
                self._choose_another(strategy, obj, error, asked, taken)
            except storage.GuardFailed:
                # The namespace is not what admission saw. If it is gone or going, admission says so
                # now that the cache shows it; if it only changed, the object is written after all.
                await fresh(self.cache)
                target = Target(resource, meta.namespace, meta.name)
                await self._admission.mutate(ctx, target, obj, None)  # says what is wrong with it

    def _choose_another(
        self,
        strategy: Strategy,
        obj: Any,
        error: storage.AllocationTaken,
        asked: Collection[str],
        taken: set[str],
    ) -> None:
        """Do without a value that is taken; raises StatusError 422 when the writer asked for it."""
        if error.key in asked or error.key in taken:
            resource, finding = strategy.resource, strategy.already_taken(obj, error.key)
            name = obj.metadata.name
            raise errors.invalid_object(resource.group, resource.kind, name, [finding]) from error
        taken.add(error.key)

    def _namespace_guard(self, resource: Resource, namespace: str) -> list[Guard]:
        """The namespace must still be what admission saw: there, and not terminating."""
        if not resource.namespaced:
            return []
        spaces = self.scheme.require("", "v1", "namespaces")
        entry = self.cache.get(self.key(Target(spaces, "", namespace)))
        if entry is None:
            raise errors.not_found(spaces, namespace)
        return [Guard(entry.key, entry.revision)]

    async def update(self, ctx: Context, target: Target, change: Change) -> bytes:
        """Apply `change` to the object; again to the newest state when another writer was faster.

        `change` may set metadata.resourceVersion: then that must be the current one.
        """
        resource, name = target.resource, target.name
        # What the cache has may be old. It is safe to begin with: etcd stores a change only of the
        # revision that it was made from, and an answer that depends on the object's state (a
        # refusal, or that nothing changes) is given of the state that etcd has now.
        entry = self.cache.get(self.key(target))
        current = (
            KeyValue(entry.key, unsplice(entry.data, entry.revision), 0, entry.revision)
            if entry is not None
            else await self.read(target)
        )
        fresh = entry is None
        for _ in range(ATTEMPTS_MAX):
            try:
                made = await self._update_once(ctx, target, current, change)
                if made is not None:
                    return made
                # Nothing changes. Of an old state that says nothing of the present one.
                if fresh:
                    return splice(current.value, current.revision)
                current, fresh = await self.read(target), True
            except storage.Conflict as error:
                # The transaction has read what is there now: no other question is needed.
                current, fresh = error.current, True
            except storage.KeyNotFound as error:
                raise errors.not_found(resource, name) from error
            except errors.StatusError:
                # A refusal: by an old state perhaps, which the writer may have repaired already.
                if fresh:
                    raise
                current, fresh = await self.read(target), True
        raise errors.conflict(resource, name, errors.MODIFIED)

    async def _update_once(
        self, ctx: Context, target: Target, current: KeyValue, change: Change
    ) -> bytes | None:
        """One attempt against one state of the object; None when it changes nothing of that."""
        resource, subresource = target.resource, target.subresource
        strategy, cls = self.strategy(resource), self.scheme.struct_of(resource)
        weight = max(ctx.weight, len(current.value))
        old, new, unknown = await self.heavy(weight, _changed, current, cls, change)
        self._expect_revision(strategy, new.metadata, current)
        self._keep_metadata(new.metadata, old.metadata)
        await self._prepare_update(ctx, target, new, old, weight)
        if subresource == "":
            return await self._store_changed(ctx, strategy, current, new, old, unknown)
        value = await self.heavy(weight, encode, new, unknown)
        if value == current.value:
            return None
        if ctx.dry_run:
            return splice(value, current.revision)
        if deletion.is_finished(new):
            return await self._remove(resource, current, new, old)
        async with _translated(resource, new.metadata.name):
            revision = await self.store.update(
                current.key,
                value,
                expected_revision=current.revision,
                ttl_seconds=strategy.ttl_seconds,
            )
        return self._stored(value, revision)

    async def _store_changed(
        self,
        ctx: Context,
        strategy: Strategy,
        current: KeyValue,
        new: Any,
        old: Any,
        unknown: Foreign | None,
    ) -> bytes | None:
        """Write a changed object; it may allocate and release values by that."""
        resource, held = strategy.resource, {a.key for a in strategy.allocations(old)}
        free = {a.key for a in strategy.released(old)}
        asked = {a.key for a in strategy.allocations(new)} - held
        taken: set[str] = set()
        while True:
            strategy.propose(new, taken)
            value = await self.heavy(max(ctx.weight, len(current.value)), encode, new, unknown)
            if value == current.value:
                return None
            if ctx.dry_run:
                return splice(value, current.revision)
            if deletion.is_finished(new):
                return await self._remove(resource, current, new, old)
            wanted = strategy.allocations(new)
            try:
                async with _translated(resource, new.metadata.name):
                    revision = await self.store.update(
                        current.key,
                        value,
                        expected_revision=current.revision,
                        allocate=[a for a in wanted if a.key not in held],
                        release=sorted(free - {a.key for a in wanted}),
                        ttl_seconds=strategy.ttl_seconds,
                    )
            except storage.AllocationTaken as error:
                self._choose_another(strategy, new, error, asked, taken)
                continue
            ctx.warnings.add(strategy.warnings(new, old))
            return self._stored(value, revision)

    def _expect_revision(self, strategy: Strategy, meta: ObjectMeta, current: KeyValue) -> None:
        """409 when the writer has seen another state of the object."""
        if meta.resourceVersion not in ("", "0", str(current.revision)):
            raise errors.conflict(strategy.resource, meta.name, errors.MODIFIED)
        if meta.resourceVersion == "" and not strategy.unconditional_update:
            finding = errors.invalid(
                "metadata.resourceVersion", "", "must be specified for an update"
            )
            resource = strategy.resource
            raise errors.invalid_object(resource.group, resource.kind, meta.name, [finding])

    def _keep_metadata(self, new: ObjectMeta, old: ObjectMeta) -> None:
        """Fill in what the writer left out of the metadata that no writer decides."""
        new.resourceVersion = new.selfLink = ""
        new.uid = new.uid or old.uid
        new.creationTimestamp = old.creationTimestamp
        new.deletionTimestamp = old.deletionTimestamp
        new.deletionGracePeriodSeconds = old.deletionGracePeriodSeconds
        new.generateName = old.generateName
        new.managedFields = ()

    async def _prepare_update(
        self, ctx: Context, target: Target, new: Any, old: Any, weight: int
    ) -> None:
        """Default, admit and validate a change; other subresources know what they may change.

        Raises StatusError 409 for another object of the same name, 403 or 422 for what is not
        allowed.
        """
        resource, name = target.resource, new.metadata.name
        strategy = self.strategy(resource)
        if new.metadata.uid != old.metadata.uid:
            raise errors.conflict(
                resource,
                name,
                f"Precondition failed: UID in precondition: {new.metadata.uid}, "
                f"UID in object meta: {old.metadata.uid}",
            )
        findings = validate_metadata_update(new.metadata, old.metadata)
        if target.subresource == "status":
            await self._mutate(ctx, target, new, old, weight)
            await self.heavy(weight, strategy.prepare_status_update, new, old)
            findings += await self.heavy(weight, _status_problems, strategy, new, old)
        elif target.subresource == "":
            await self._mutate(ctx, target, new, old, weight)
            await self.heavy(weight, strategy.prepare_update, new, old)
            findings += await self.heavy(weight, _update_problems, strategy, new, old)
        if findings:
            raise errors.invalid_object(resource.group, resource.kind, name, findings)
        await self._admission.validate(ctx, target, new, old)

    async def delete(
        self, ctx: Context, target: Target, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """Delete an object: (its last or present state, whether it is gone already)."""
        resource, name = target.resource, target.name
        for _ in range(ATTEMPTS_MAX):
            current = await self.read(target)
            try:
                return await self._delete_once(ctx, resource, current, options)
            except storage.Conflict:
                continue
            except storage.KeyNotFound as error:
                raise errors.not_found(resource, name) from error
        raise errors.conflict(resource, name, errors.MODIFIED)

    async def _delete_once(
        self, ctx: Context, resource: Resource, current: KeyValue, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        strategy = self.strategy(resource)
        obj: Any = codec.decode(current.value, self.scheme.struct_of(resource))
        deletion.check_preconditions(resource, obj.metadata, current.revision, options)
        strategy.check_delete(obj)
        plan = deletion.plan(obj, strategy, options, self.clock.now())
        if ctx.dry_run:
            return splice(current.value, current.revision), plan.remove
        if plan.remove:
            return await self._remove(resource, current, obj, obj), True
        value = encode(obj, foreign.find(current.value, type(obj)))
        if value == current.value:
            return splice(value, current.revision), False
        async with _translated(resource, obj.metadata.name):
            revision = await self.store.update(
                current.key, value, expected_revision=current.revision
            )
        return self._stored(value, revision), False

    async def _remove(self, resource: Resource, current: KeyValue, obj: Any, held: Any) -> bytes:
        """Take an object out of the store, with what `held`, the stored state, had allocated."""
        strategy = self.strategy(resource)
        async with _translated(resource, obj.metadata.name):
            await self.store.delete(
                current.key,
                expected_revision=current.revision,
                release=[allocation.key for allocation in strategy.released(held)],
            )
        return splice(encode(obj), current.revision)


def _changed(current: KeyValue, cls: type[Any], change: Change) -> tuple[Any, Any, Foreign | None]:
    """(the object as it is, what it is to become, what of it this release does not know)."""
    base: Any = codec.decode(current.value, cls)
    base.metadata.resourceVersion = str(current.revision)
    unknown = foreign.find(current.value, cls)
    return codec.decode(current.value, cls), change(base), unknown


def _check(strategy: Strategy, obj: Any) -> None:
    """Validate; raises StatusError 422 with every finding."""
    findings = errors.first(validate_metadata(obj.metadata, strategy)) + strategy.validate(obj)
    if findings:
        resource, name = strategy.resource, obj.metadata.name
        raise errors.invalid_object(resource.group, resource.kind, name, findings)


def _update_problems(strategy: Strategy, new: Any, old: Any) -> list[FieldError]:
    findings = errors.first(validate_metadata(new.metadata, strategy)) + strategy.validate(new)
    return findings or strategy.validate_update(new, old)


def _status_problems(strategy: Strategy, new: Any, old: Any) -> list[FieldError]:
    findings = errors.first(validate_metadata(new.metadata, strategy))
    return findings + strategy.validate_status_update(new, old)


def encode(obj: msgspec.Struct, unknown: Foreign | None = None) -> bytes:
    """The bytes to store, with what is not known of it; raises StatusError 413 when they are too
    many."""
    value = codec.encode(obj)
    if unknown is not None:
        value = foreign.keep(value, unknown)
    if len(value) > OBJECT_MAX_BYTES:
        raise errors.too_large(f"Request entity too large: limit is {OBJECT_MAX_BYTES}")
    return value


def unsplice(data: bytes, revision: int) -> bytes:
    """The stored bytes of an object that carries its revision; the reverse of `splice`."""
    return data.replace(b'"resourceVersion":"%d",' % revision, b"", 1)


class _translated:
    """Translates the store's errors; conflicts stay for the pipeline to act on."""

    def __init__(self, resource: Resource, name: str) -> None:
        self._resource, self._name = resource, name

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, StoreError) and not isinstance(error, FOR_THE_PIPELINE):
            raise translation.status_of(error, self._resource, self._name) or error from error
