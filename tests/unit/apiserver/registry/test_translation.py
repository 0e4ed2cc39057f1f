"""No error of storage, codec or arithmetic leaves the registry but as a Status."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

import common.api
import master.storage
from common.api.codec import json as codec
from common.api.errors import CannotBeHandled, StatusError
from common.api.scheme import SCHEME
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.registry import Registry
from master.apiserver.registry.translation import status_of
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.mediatypes import MERGE_PATCH
from master.apiserver.request.options import DeleteOptions, ListOptions, WatchOptions
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.storage import embedded, external, marker, store, watchcache
from master.storage.store import Guard, KeyValue
from tests.fakes import registry as fakes

found = SCHEME.resource("", "v1", "configmaps")
assert found is not None
CONFIG_MAPS = found
IN_NO_CALL = {
    embedded.EmbeddedEtcdError,
    external.ExternalEtcdError,
    marker.ForeignData,
    watchcache.StoreRestored,
}
"""They end a master, most of them before anything is served."""
ADMIN = Identity("admin", ("system:masters",))


def raised_below() -> Iterator[type[Exception]]:
    """Every exception that the packages below the registry define."""
    for package in (common.api, master.storage):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            for _, one in inspect.getmembers(module, inspect.isclass):
                if issubclass(one, Exception) and one.__module__ == info.name:
                    yield one


def made(cls: type[Exception]) -> Exception:
    """An instance of an exception."""
    if cls is store.Conflict:
        return store.Conflict(KeyValue("/k", b"", 1, 2))
    if cls is store.AllocationTaken:
        return store.AllocationTaken("/k", "somebody")
    if cls is store.GuardFailed:
        return store.GuardFailed(Guard("/k", "exists"))
    if cls is StatusError:
        return StatusError(418, "Teapot", "short and stout")
    if cls is CannotBeHandled:
        return CannotBeHandled("ConfigMap", "v1", "text")
    return cls("text")


BELOW = sorted(set(raised_below()) - IN_NO_CALL, key=lambda cls: cls.__name__)
UNEXPECTED = [
    OverflowError("too far"),
    ZeroDivisionError("by nothing"),
    ValueError("no number"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    RecursionError("too deep"),
    msgspec.ValidationError("no string"),
    msgspec.DecodeError("no JSON"),
]


@pytest.mark.parametrize("cls", BELOW, ids=lambda cls: str(cls.__name__))
def test_every_error_that_is_defined_below_has_a_status(cls: type[Exception]) -> None:
    status = status_of(made(cls), CONFIG_MAPS, "a")
    assert status is not None
    assert 400 <= status.code < 600
    assert status.code != 500


def test_a_mistake_of_ours_is_no_answer() -> None:
    assert status_of(KeyError("oops"), CONFIG_MAPS) is None


class Failing:
    """A store and a cache of which every question raises."""

    ready = True
    revision = 5

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def fail(*args: Any, **kwargs: Any) -> Any:
            raise self._error

        return fail


VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


async def call(registry: Registry, verb: str) -> None:
    """One verb on a ConfigMap."""
    ctx = Context(user=ADMIN)
    configmaps = Target(CONFIG_MAPS, "n")
    one = configmaps._replace(name="a")
    body = Body(codec.encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}))
    match verb:
        case "get":
            await registry.get(one, resource_version="0")
        case "list":
            await registry.list(configmaps, ListOptions(resource_version="0"))
        case "watch":
            events: AsyncIterator[Any] = registry.watch(
                configmaps, WatchOptions(resource_version="0")
            )
            await anext(events)
        case "create":
            await registry.create(ctx, configmaps, body)
        case "update":
            await registry.update(ctx, one, body)
        case "patch":
            await registry.patch(ctx, one, Patch(b"{}", MERGE_PATCH))
        case "delete":
            await registry.delete(ctx, one, DeleteOptions())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("error", [*map(made, BELOW), *UNEXPECTED], ids=lambda e: type(e).__name__)
async def test_no_verb_lets_an_error_through(
    pipeline: Pipeline, verb: str, error: Exception
) -> None:
    broken: Any = Failing(error)
    pipeline.store = pipeline.cache = broken
    registry = fakes.registry(pipeline)
    stored = fakes.stored(pipeline)
    registry = fakes.registry(pipeline, handlers={"configmaps": stored, "pods": stored})
    with pytest.raises(StatusError):
        await call(registry, verb)


@pytest.mark.parametrize("namespace", ["a/b", "a\x01b", "..", "x" * 300, "\ud800"])
async def test_a_namespace_that_cannot_be_is_not_found(pipeline: Pipeline, namespace: str) -> None:
    """Its name is looked up by admission, before the pipeline makes a key of it."""
    registry = fakes.registry(pipeline)
    ctx = Context(user=ADMIN)
    body = Body(codec.encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}))
    with pytest.raises(StatusError) as raised:
        await registry.create(ctx, Target(CONFIG_MAPS, namespace), body)
    assert raised.value.code in (400, 404)
