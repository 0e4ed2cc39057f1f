"""Data of another release: what the former one stored is read, and what a newer one stored and this
one does not know stays where it is (A18)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions
from master.apiserver.request.target import Target
from master.storage.keys import REGISTRY

FILES = sorted((Path(__file__).parent / "golden").glob("stored-*.jsonl"))
"""What each release has stored of nearly every kind; a release adds its own."""
ADMIN = Identity("admin", ("system:masters",))


class Stored(NamedTuple):
    """An object in etcd."""

    key: str
    value: str

    @property
    def resource(self) -> Resource:
        """Its kind, as the key says."""
        name = self.key.removeprefix(REGISTRY).split("/")[0]
        return next(each for each in SCHEME.resources() if each.group_resource == name)

    @property
    def plain(self) -> dict[str, Any]:
        """Its value."""
        return dict(json.loads(self.value))


STORED = [Stored(**json.loads(line)) for file in FILES for line in file.read_text().splitlines()]


def name_of(stored: Stored) -> str:
    return stored.key.removeprefix(REGISTRY)


async def put(pipeline: Pipeline, key: str, plain: dict[str, Any]) -> Target:
    """Store it as the other release did."""
    meta = plain["metadata"]
    if (await pipeline.store.get(key))[0] is None:  # the fixture has a namespace and an account
        await pipeline.store.create(key, codec.encode(plain))
    return Target(Stored(key, "").resource, meta.get("namespace", ""), meta["name"])


def label(obj: Any) -> Any:
    """A change that any object takes."""
    obj.metadata.labels = {**obj.metadata.labels, "changed": "yes"}
    return obj


@pytest.mark.parametrize("stored", STORED, ids=name_of)
async def test_what_a_release_has_stored_is_read_and_written(
    pipeline: Pipeline, stored: Stored
) -> None:
    where = await put(pipeline, stored.key, stored.plain)
    revision = await pipeline.store.revision()
    same = json.loads(await pipeline.update(Context(user=ADMIN), where, lambda obj: obj))
    assert same["metadata"].pop("resourceVersion")
    assert same == stored.plain
    assert await pipeline.store.revision() == revision, (
        "nothing has changed, and nothing is written"
    )
    changed = json.loads(await pipeline.update(Context(user=ADMIN), where, label))
    assert changed["metadata"]["labels"].pop("changed") == "yes"
    assert changed["metadata"]["labels"] == stored.plain["metadata"].get("labels", {})
    for part in changed.keys() - {"metadata"}:
        assert changed[part] == stored.plain[part]


def with_new_fields(plain: Any, depth: int = 0) -> Any:
    """The same with fields that no release has, in every object with members of its own."""
    if isinstance(plain, list):
        return [with_new_fields(each, depth) for each in plain]
    if not isinstance(plain, dict):
        return plain
    made = {key: with_new_fields(value, depth + 1) for key, value in plain.items()}
    is_free = depth and all(isinstance(each, str) for each in plain.values())
    return made if is_free else {**made, "newField": {"newer": [1, {"x": None}]}}


@pytest.mark.parametrize(
    "stored", [s for s in STORED if s.plain["kind"] in ("Pod", "Deployment", "Node")], ids=name_of
)
async def test_fields_that_only_a_newer_release_knows_stay(
    pipeline: Pipeline, stored: Stored
) -> None:
    newer = with_new_fields(stored.plain)
    assert codec.encode(newer).count(b"newField") > 5
    where = await put(pipeline, stored.key, newer)
    revision = await pipeline.store.revision()
    await pipeline.update(Context(user=ADMIN), where, lambda obj: obj)
    assert await pipeline.store.revision() == revision, (
        "nothing has changed, and nothing is written"
    )
    await pipeline.update(Context(user=ADMIN), where, label)
    found, _ = await pipeline.store.get(stored.key)
    assert found is not None
    kept = json.loads(found.value)
    labels = kept["metadata"].pop("labels")
    assert labels == {**newer["metadata"].pop("labels", {}), "changed": "yes"}
    assert kept == newer


async def test_of_a_list_the_items_that_are_still_there_keep_theirs(pipeline: Pipeline) -> None:
    plain: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "uid": "u", "finalizers": ["a/b"], "new": 1},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True", "new": 1},
                {"type": "Gone", "status": "True", "new": 2},
            ],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        },
    }
    where = await put(pipeline, f"{REGISTRY}nodes/n1", plain)

    def change(node: Any) -> Any:
        node.status.conditions = node.status.conditions[:1]
        node.status.conditions[0].status = "False"
        return node

    await pipeline.update(Context(user=ADMIN), where._replace(subresource="status"), change)
    await pipeline.delete(Context(user=ADMIN), where, DeleteOptions())
    found, _ = await pipeline.store.get(f"{REGISTRY}nodes/n1")
    assert found is not None
    kept = json.loads(found.value)
    [condition] = kept["status"]["conditions"]
    assert (condition["status"], condition["new"]) == ("False", 1)
    assert kept["metadata"]["new"] == 1
    assert kept["metadata"]["deletionTimestamp"]
