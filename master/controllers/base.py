"""What every controller is, and the one shell that runs them.

A controller is pure: events become keys, and a key with a view becomes commands. The runner feeds
it from informers and carries the commands out, one request after the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, NamedTuple, Protocol

import msgspec

from common.api import labels, names
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.labels import Selector
from common.api.resource import Resource
from common.client.api import ApiClient
from common.client.commands import Command, Create, Delete, Event, Patch, Requeue, Update
from common.client.events import EventRecorder
from common.client.informer import Informer, Item, item
from common.client.informers import Informers, Listers
from common.client.workqueue import WorkQueue
from common.runtime.clock import Clock
from common.runtime.rng import Rng

log = logging.getLogger(__name__)
WORKERS = 4
NAME_TRIES = 8
LONG_SECONDS = 0.02
REST_FACTOR = 10.0
"""A decision that took longer is not made again for so many times as long: no key has all of it."""
CREATED = "{created}"
"""In the message of an Event that follows a Create: the name that the object got."""


class Failure(NamedTuple):
    """The last command of a key that the API refused; gone after a round without."""

    verb: str
    message: str


Items = list[Item]


class Reader(Protocol):
    """What a reconcile may ask a lister."""

    resource: Resource
    revision: int
    """Everything up to here is included."""

    def get(self, namespace: str, name: str) -> Item | None:
        """The object of that name, or None."""
        ...

    def by_key(self, key: str) -> Item | None:
        """The object with that `namespace/name`, or None."""
        ...

    def by_uid(self, uid: str) -> Item | None:
        """The object with that uid, or None."""
        ...

    def list(self, namespace: str = "", selector: Selector = labels.EVERYTHING) -> Items:
        """Objects of a namespace (all when empty) whose labels match, by key."""
        ...

    def owned_by(self, uid: str) -> Items:
        """Objects that name `uid` among their owners, by key."""
        ...


class View:
    """The listers that a reconcile may read, by resource and group: `view["replicasets.apps"]`."""

    def __init__(
        self, listers: Mapping[str, Reader], failures: Mapping[str, Failure] | None = None
    ) -> None:
        self._listers = listers
        self._failures = {} if failures is None else failures

    def __getitem__(self, name: str) -> Reader:
        return self._listers[name]

    def __contains__(self, name: str) -> bool:
        return name in self._listers

    def __iter__(self) -> Iterator[Reader]:
        return iter(self._listers.values())

    def of_kind(self, api_version: str, kind: str) -> Reader | None:
        """The lister of a kind, or None."""
        wanted = (api_version, kind)
        return next((r for r in self if (r.resource.api_version, r.resource.kind) == wanted), None)

    def failure(self, key: str) -> Failure | None:
        """What went wrong when the commands of `key` were last carried out, or None."""
        return self._failures.get(key)


class Controller(Protocol):
    """One controller. Neither method may change its arguments, wait, or ask for the time."""

    name: ClassVar[str]
    account: ClassVar[str]
    """The service account of kube-system whose rights it has."""
    watches: ClassVar[Sequence[str]]
    """The resources (`pods`, `deployments.apps`) whose events make keys; `*` for all."""

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The keys that an event is about."""
        ...

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """What must be done so that reality becomes what the object of that key wants."""
        ...


class OwnWrites:
    """What commands have written and the view may not show yet, by key.

    Reconciling on a view without them would do the same again: create a pod twice, or delete
    another one in place of a pod that is on its way out.
    """

    def __init__(self, informers: Mapping[str, Informer]) -> None:
        self._informers = informers
        self._revisions: dict[str, dict[str, int]] = {}
        self._deleted: dict[str, list[asyncio.Event]] = {}
        self._going: dict[str, list[asyncio.Event]] = {}

    def wrote(self, key: str, resource: Resource, revision: int) -> None:
        """A command of `key` has made that revision."""
        known = self._revisions.setdefault(key, {})
        name = resource.group_resource
        known[name] = max(known.get(name, 0), revision)

    def deleted(self, key: str, command: Delete) -> None:
        """A delete of `key` was accepted."""
        informer = self._informers.get(command.resource.group_resource)
        seen = informer and informer.lister.get(command.namespace, command.name)
        if seen and seen.uid == command.uid and not seen.deleting:
            gone = asyncio.Event()
            self._going.setdefault(command.uid, []).append(gone)
            self._deleted.setdefault(key, []).append(gone)

    def changed(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        """An informer's news: an object that is gone, replaced or being deleted."""
        if old is not None and (new is None or new.deleting or new.uid != old.uid):
            for gone in self._going.pop(old.uid, ()):
                gone.set()

    async def shown(self, key: str) -> None:
        """Wait until the view shows everything that was written for `key`."""
        for name, revision in self._revisions.pop(key, {}).items():
            if name in self._informers:
                await self._informers[name].wait_for(revision)
        for gone in self._deleted.pop(key, []):
            await gone.wait()


class ControllerRunner:
    """Runs one controller with its own queue; several keys at a time, each key alone."""

    def __init__(
        self,
        controller: Controller,
        informers: Informers,
        client: ApiClient,
        recorder: EventRecorder,
        *,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._controller = controller
        self._informers = informers
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._rng = rng
        self._failures: dict[str, Failure] = {}
        self._throttled_until: dict[str, float] = {}
        self._view = View(Listers(informers), self._failures)
        self._queue = WorkQueue(clock)
        self._own = OwnWrites(informers)
        for informer in informers.values():
            self._attach(informer)
        informers.follow(self._attach)

    def _attach(self, informer: Informer) -> None:
        """Hear of an informer's news before it runs."""
        informer.add_handler(self._own.changed)
        if {"*", informer.lister.resource.group_resource} & {*self._controller.watches}:
            informer.add_handler(self._on_change)

    def _on_change(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        for key in self._controller.keys(self._view, resource, old, new):
            self._queue.add(key)

    def again(self) -> None:
        """Look at everything again: something has changed that no object says."""
        for name in self._controller.watches:
            lister = self._informers[name].lister
            for one in lister.list():
                self._on_change(lister.resource, None, one)

    async def run(self) -> None:
        """Work until cancelled; called again after a failure, go on with what was left."""
        for informer in list(self._informers.values()):  # others may come while this waits
            await informer.synced.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run_timers())
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._own.shown(key)
                await self._round(key)
            except Exception:  # a mistake in one reconcile must not end the others
                log.exception("reconcile failed", extra=self._extra(key))
                self._queue.add_rate_limited(key)
            except asyncio.CancelledError:
                self._queue.add(key)  # if the runner is started again, it goes on with this
                raise
            finally:
                self._queue.done(key)

    def _extra(self, key: str) -> dict[str, str]:
        return {"controller": self._controller.name, "object": key}

    async def _round(self, key: str) -> None:
        """Decide and do; the first command that is refused ends the round."""
        start = self._clock.monotonic()
        if (rest := self._throttled_until.pop(key, start) - start) > 0:
            self._throttled_until[key] = start + rest
            self._queue.add_after(key, rest)
            return
        # No await between the view and the decision: the whole decision is about one state.
        commands = self._controller.reconcile(key, self._view, self._clock.now())
        self._throttle(key, start)
        created = ""
        for command in commands:
            try:
                created = await self._carry_out(key, command, created)
            except StatusError as error:
                # What follows may rest on what was refused, as the Event that tells of it does.
                self._retry(key, command, error)
                return
        self._failures.pop(key, None)
        self._queue.forget(key)

    def _throttle(self, key: str, start: float) -> None:
        """A key whose decision took long waits before its next, however often it is asked for.

        Else a service with thousands of pods that come one by one would take all the time there is.
        """
        end = self._clock.monotonic()
        if end - start > LONG_SECONDS:
            self._throttled_until[key] = end + REST_FACTOR * (end - start)

    def _retry(self, key: str, command: Command, error: StatusError) -> None:
        """Conflicts are normal: look again, a little later. A refusal is told to the reconcile."""
        verb = type(command).__name__.lower()
        if error.code not in (404, 409):
            extra = {**self._extra(key), "command": verb, "error": error.message}
            log.warning("a command was refused", extra=extra)
            self._failures[key] = Failure(verb, error.message)
        self._queue.add_rate_limited(key)

    async def _carry_out(self, key: str, command: Command, created: str) -> str:
        """Do one command; answers the name of the object that was created last."""
        if isinstance(command, Requeue):
            self._queue.add_after(key, command.after_seconds)
            return created
        if isinstance(command, Event):
            message = command.message.replace(CREATED, created)
            self._recorder.record(command.about, command.type, command.reason, message)
            return created
        extra = {**self._extra(key), "command": type(command).__name__, "reason": command.reason}
        log.info("command", extra=extra)
        if isinstance(command, Delete):
            await self._delete(command)
            self._own.deleted(key, command)
            return created
        made = item(await self._write(command))
        self._own.wrote(key, command.resource, made.revision)
        return made.name if isinstance(command, Create) else created

    async def _write(self, command: Create | Update | Patch) -> bytes:
        """Send a write; answers the object as stored."""
        match command:
            case Create():
                return await self._create(command)
            case Update():
                data = codec.encode(command.body)
                meta = item(data)
                return await self._client.update(
                    command.resource,
                    meta.namespace,
                    meta.name,
                    data,
                    subresource=command.subresource,
                )
            case Patch():
                return await self._client.patch(
                    command.resource,
                    command.namespace,
                    command.name,
                    command.patch,
                    subresource=command.subresource,
                )

    async def _create(self, command: Create) -> bytes:
        """Create under a name chosen before sending, so that an unknown outcome can be resolved."""
        body = msgspec.to_builtins(command.body)
        meta = body["metadata"]
        base = "" if meta.get("name") else meta.pop("generateName", "")
        for attempt in range(NAME_TRIES):
            if base:
                meta["name"] = names.generated(base, self._rng.suffix())
            try:
                data = codec.encode(body)
                return await self._client.create(command.resource, command.namespace, data)
            except StatusError as error:
                if error.code in (503, 504):
                    return await self._look_up(command, meta["name"], error)
                if not base or error.reason != "AlreadyExists" or attempt + 1 == NAME_TRIES:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _look_up(self, command: Create, name: str, unknown: StatusError) -> bytes:
        """Whether a create of unknown outcome has happened: the object, or the error again."""
        try:
            return await self._client.get(command.resource, command.namespace, name)
        except StatusError as error:
            if error.code == 404:
                raise unknown from error
            raise

    async def _delete(self, command: Delete) -> None:
        """Delete; that it is gone already is as good."""
        try:
            await self._client.delete(
                command.resource,
                command.namespace,
                command.name,
                uid=command.uid,
                grace_period_seconds=command.grace_period_seconds,
                propagation_policy=command.propagation_policy,
            )
        except StatusError as error:
            if error.code != 404:
                raise
