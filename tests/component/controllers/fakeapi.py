"""An ApiClient in memory: revisions, watches, faults on demand; no rules of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from common.api import errors
from common.api.errors import StatusError
from common.api.patch import merge
from common.api.resource import Resource
from common.client.api import ObjectList, WatchEvent

Key = tuple[str, str, str]
Fault = Callable[[str, str], StatusError | None]


class FakeApi:
    """Implements ApiClient. `before` and `after` may raise at any write, by verb and name."""

    def __init__(self) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}
        self.history: list[tuple[str, WatchEvent]] = []
        self.bound: dict[str, str] = {}
        self.before: Fault = lambda verb, name: None
        self.after: Fault = lambda verb, name: None
        self.revision = 0
        self._shown: dict[str, int] = {}
        self._news = asyncio.Event()

    def put(self, body: msgspec.Struct, resource: Resource) -> None:
        """Another user's write."""
        plain = msgspec.to_builtins(body)
        meta = plain["metadata"]
        key = (resource.group_resource, meta.get("namespace", ""), meta["name"])
        self._store(key, plain)

    def change(self, key: Key, patch: dict[str, Any]) -> None:
        """Another user's merge patch."""
        self._store(key, merge(self.objects[key], patch))

    def find(self, resource: Resource, namespace: str = "") -> list[dict[str, Any]]:
        """Objects as plain values, by name."""
        kept = [o for k, o in sorted(self.objects.items()) if k[0] == resource.group_resource]
        return [o for o in kept if not namespace or o["metadata"].get("namespace") == namespace]

    def show(self, name: str, revision: int | None = None) -> None:
        """Let the watches of a resource tell what happened up to a revision; None: everything."""
        self._shown.pop(name, None)
        if revision is not None:
            self._shown[name] = revision
        self._tell()

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        found = self.objects.get((resource.group_resource, namespace, name))
        if found is None:
            raise errors.not_found(resource, name)
        return msgspec.json.encode(found)

    async def list(
        self, resource: Resource, namespace: str = "", *, resource_version: str = ""
    ) -> ObjectList:
        items = [msgspec.json.encode(found) for found in self.find(resource, namespace)]
        return ObjectList(items, self.revision)

    async def watch(
        self, resource: Resource, namespace: str = "", *, resource_version: str
    ) -> AsyncIterator[Sequence[WatchEvent]]:
        since = int(resource_version)
        while True:
            name = resource.group_resource
            last = self._shown.get(name, self.revision)
            news = [e for kind, e in self.history if kind == name and since < e.revision <= last]
            if news:
                since = news[-1].revision
                yield news
                continue
            event = self._news
            await event.wait()

    async def create(self, resource: Resource, namespace: str, data: bytes) -> bytes:
        plain = msgspec.json.decode(data)
        meta = plain["metadata"]
        key = (resource.group_resource, namespace, meta["name"])
        self._fault(self.before, "create", meta["name"])
        if key in self.objects:
            raise errors.already_exists(resource, meta["name"])
        meta["uid"] = f"uid-{self.revision + 1}"
        if namespace:
            meta["namespace"] = namespace
        made = self._store(key, plain)
        self._fault(self.after, "create", meta["name"])
        return made

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        data: bytes,
        *,
        subresource: str = "",
    ) -> bytes:
        self._fault(self.before, "update", name)
        key, old = self._existing(resource, namespace, name)
        plain = msgspec.json.decode(data)
        if plain["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource, name, errors.MODIFIED)
        merged = old | {"status": plain["status"]} if subresource == "status" else plain
        return self._store(key, merged)

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> bytes:
        self._fault(self.before, "patch", name)
        key, old = self._existing(resource, namespace, name)
        pinned = patch.get("metadata", {}).get("resourceVersion")
        if pinned and pinned != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource, name, errors.MODIFIED)
        return self._store(key, merge(old, dict(patch)))

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str,
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> None:
        self._fault(self.before, "delete", name)
        _, old = self._existing(resource, namespace, name)
        if old["metadata"]["uid"] != uid:
            raise errors.conflict(resource, name, "uid")
        self.remove(resource, namespace, name)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Take an object away."""
        key, old = self._existing(resource, namespace, name)
        del self.objects[key]
        self._log("DELETED", key, old)

    async def bind(self, namespace: str, name: str, *, uid: str, node: str) -> None:
        self._fault(self.before, "bind", name)
        key = ("pods", namespace, name)
        found = self.objects.get(key)
        if found is None or found["metadata"]["uid"] != uid:
            raise StatusError(404, "NotFound", name)
        if found["spec"].get("nodeName"):
            raise StatusError(409, "Conflict", "already bound")
        self.bound[name] = node
        self._store(key, found | {"spec": found["spec"] | {"nodeName": node}})

    def _existing(self, resource: Resource, namespace: str, name: str) -> tuple[Key, Any]:
        key = (resource.group_resource, namespace, name)
        if key not in self.objects:
            raise errors.not_found(resource, name)
        return key, self.objects[key]

    def _store(self, key: Key, plain: dict[str, Any]) -> bytes:
        kind = "MODIFIED" if key in self.objects else "ADDED"
        copy = msgspec.json.decode(msgspec.json.encode(plain))
        copy["metadata"].setdefault("uid", f"uid-{self.revision + 1}")
        self.objects[key] = copy
        return self._log(kind, key, copy)

    def _log(self, kind: str, key: Key, plain: dict[str, Any]) -> bytes:
        self.revision += 1
        plain["metadata"]["resourceVersion"] = str(self.revision)
        data = msgspec.json.encode(plain)
        self.history.append((key[0], WatchEvent(kind, self.revision, data)))
        self._tell()
        return data

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _fault(self, fault: Fault, verb: str, name: str) -> None:
        error = fault(verb, name)
        if error is not None:
            raise error
