"""A tiny cluster in memory: listers, commands carried out at once, and pods that become ready."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from common.api import patch, times
from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Pod, PodCondition
from common.client.commands import Command, Create, Delete, Event, Patch, Requeue, Update
from common.client.informer import Item, Lister, item
from master.apiserver.auth.attributes import Attributes
from master.apiserver.request.target import Target
from master.controllers.base import CREATED, Controller, Failure, View
from master.wiring import components
from tests.fakes.rng import SeededRng
from tests.fakes.roles import default_policy

T = TypeVar("T", bound=msgspec.Struct)
START = datetime(2030, 1, 1, tzinfo=UTC)


class Cluster:
    """What an API server would do to commands, without rules: names, uids, revisions, times."""

    def __init__(self) -> None:
        self.rng = SeededRng(1)
        self.now = START
        self.revision = 0
        self.events: list[Event] = []
        self.failures: dict[str, Failure] = {}
        self.listers = {
            resource.group_resource: Lister(resource)
            for resource in SCHEME.resources()
            if resource.group not in ("metrics.k8s.io", "events.k8s.io")
        }
        self.view = View(self.listers, self.failures)

    def put(self, body: Any, resource: Resource | None = None) -> Item:
        """Store an object, giving it what the API server gives."""
        plain = msgspec.to_builtins(body) if isinstance(body, msgspec.Struct) else body
        found = resource or SCHEME.resource_of(plain["apiVersion"], plain["kind"])
        assert found is not None
        self.revision += 1
        meta = plain["metadata"]
        meta["resourceVersion"] = str(self.revision)
        meta.setdefault("uid", self.rng.uuid())
        meta.setdefault("creationTimestamp", times.to_time(self.now))
        if not meta.get("name"):
            meta["name"] = meta.pop("generateName") + self.rng.suffix()
        new = item(codec.encode(plain))
        self.listers[found.group_resource].put(new)
        return new

    def get(self, cls: type[T], name: str, namespace: str = "default") -> T:
        """An object as it is now."""
        found = self.reader(cls).get(namespace, name)
        assert found is not None, name
        return found.decode(cls)

    def list(self, cls: type[T]) -> list[T]:
        """All objects of a kind."""
        return [found.decode(cls) for found in self.reader(cls).list()]

    def reader(self, cls: type[msgspec.Struct]) -> Lister:
        made: Any = cls()
        resource = SCHEME.resource_of(made.apiVersion, cls.__name__)
        assert resource is not None
        return self.listers[resource.group_resource]

    def remove(self, cls: type[msgspec.Struct], name: str, namespace: str = "default") -> None:
        """Take an object away."""
        self.reader(cls).remove(f"{namespace}/{name}" if namespace else name)

    def reconcile(self, controller: Controller, key: str) -> list[Command]:
        """Reconcile; check that no input was changed; carry the commands out."""
        before = self.snapshot()
        commands = controller.reconcile(key, self.view, self.now)
        assert self.snapshot() == before, "a reconcile changed its inputs"
        created = ""
        for command in commands:
            _check_right(controller, command)
            created = self.carry_out(command, created)
        return commands

    def snapshot(self) -> list[bytes]:
        """The bytes of everything there is."""
        return [found.data for lister in self.listers.values() for found in lister.list()]

    def settle(self, *controllers: Controller, rounds: int = 60) -> int:
        """Reconcile every key of every controller until nobody wants anything; the rounds used."""
        for number in range(rounds):
            acted = False
            for controller in controllers:
                for lister in list(self.listers.values()):
                    if lister.resource.group_resource != controller.watches[0]:
                        continue
                    for found in lister.list():
                        commands = self.reconcile(controller, found.key)
                        acted = acted or any(not isinstance(c, Requeue) for c in commands)
            if not acted:
                return number
        raise AssertionError("the controllers do not come to rest")

    def carry_out(self, command: Command, created: str = "") -> str:
        match command:
            case Event():
                message = command.message.replace(CREATED, created)
                self.events.append(dataclasses.replace(command, message=message))
            case Create():
                return self._create(command)
            case Update():
                self._update(command)
            case Patch():
                self._patch(command)
            case Delete():
                lister = self.listers[command.resource.group_resource]
                seen = lister.get(command.namespace, command.name)
                if seen is not None and seen.uid == command.uid:
                    self._delete(lister, seen)
        return created

    def _create(self, command: Create) -> str:
        plain = msgspec.to_builtins(command.body)
        if command.namespace:
            plain["metadata"]["namespace"] = command.namespace
        plain["metadata"]["generation"] = 1
        if command.resource.plural == "pods":
            plain.setdefault("status", {})["phase"] = "Pending"
        name = plain["metadata"].get("name", "")
        assert self.listers[command.resource.group_resource].get(command.namespace, name) is None
        return self.put(plain, command.resource).name

    def _update(self, command: Update) -> None:
        plain = msgspec.to_builtins(command.body)
        lister = self.listers[command.resource.group_resource]
        meta = plain["metadata"]
        seen = lister.get(meta.get("namespace", ""), meta["name"])
        assert seen is not None
        assert meta["resourceVersion"] == str(seen.revision), f"conflict: {command.reason}"
        old = msgspec.json.decode(seen.data)
        if command.subresource == "status":
            old["status"] = plain["status"]
            plain = old
        elif command.subresource == "finalize":
            old["spec"] = plain["spec"]
            plain = old
        else:
            plain["status"] = old.get("status", {})
            if plain.get("spec") != old.get("spec"):
                meta["generation"] = meta.get("generation", 0) + 1
        self.put(plain, command.resource)
        self._finish(lister, seen.key)

    def _patch(self, command: Patch) -> None:
        lister = self.listers[command.resource.group_resource]
        seen = lister.get(command.namespace, command.name)
        assert seen is not None
        pinned = command.patch["metadata"]
        assert pinned["uid"] == seen.uid
        assert pinned.get("resourceVersion", str(seen.revision)) == str(seen.revision)
        self.put(patch.merge(msgspec.json.decode(seen.data), command.patch), command.resource)
        self._finish(lister, seen.key)

    def _delete(self, lister: Lister, seen: Item) -> None:
        plain = msgspec.json.decode(seen.data)
        if plain["metadata"].get("finalizers"):
            plain["metadata"]["deletionTimestamp"] = times.to_time(self.now)
            self.put(plain, lister.resource)
        else:
            lister.remove(seen.key)

    def _finish(self, lister: Lister, key: str) -> None:
        """An object on its way out goes when its last finalizer does."""
        found = lister.by_key(key)
        if found is None or not found.deleting:
            return
        plain = msgspec.json.decode(found.data)
        if not any(plain.get(part, {}).get("finalizers") for part in ("metadata", "spec")):
            lister.remove(key)

    def monotonic(self) -> float:
        """Seconds that have gone by."""
        return (self.now - START).total_seconds()

    def advance(self, seconds: float) -> None:
        """Move the time."""
        self.now += timedelta(seconds=seconds)

    def make_ready(self, pod: Pod, node: str = "n1") -> None:
        """The pod runs and is ready from now on."""
        pod.spec.nodeName = pod.spec.nodeName or node
        pod.status.phase = "Running"
        stamp = times.to_time(self.now)
        ready = PodCondition(type="Ready", status="True", lastTransitionTime=stamp)
        pod.status.conditions = (ready,)
        self.put(pod)

    def all_ready(self) -> None:
        """Every pending pod becomes ready."""
        for pod in self.list(Pod):
            if pod.status.phase == "Pending" and not pod.metadata.deletionTimestamp:
                self.make_ready(pod)


def _check_right(controller: Controller, command: Command) -> None:
    """A controller has the rights of its account, by the roles that every cluster has."""
    match command:
        case Requeue():
            return
        case Event():
            wanted = Attributes("create", "", "events", namespace="default")
        case Create():
            wanted = Target(command.resource, command.namespace).attributes("create")
        case Update():
            meta = msgspec.to_builtins(command.body)["metadata"]
            place = (meta.get("namespace", ""), meta["name"], command.subresource)
            wanted = Target(command.resource, *place).attributes("update")
        case Patch():
            place = (command.namespace, command.name, command.subresource)
            wanted = Target(command.resource, *place).attributes("patch")
        case Delete():
            wanted = Target(command.resource, command.namespace, command.name).attributes("delete")
    user = components.controller(controller.account)
    assert default_policy().allows(user, wanted), f"{user.user} cannot {wanted}"
