"""A cache that is behind: how long an answer waits for it, and what is said then."""

from __future__ import annotations

import pytest

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import ConfigMap
from common.api.types.meta_v1 import ObjectMeta
from common.security.identity import Identity
from master.apiserver.registry import freshness
from master.apiserver.registry.freshness import fresh
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.storage.keys import registry_key
from master.storage.store import KeyValue
from master.storage.watchcache import NotYet, WatchCache
from tests.fakes import registry as fakes
from tests.unit.apiserver.request.test_patches import refused

CONFIG_MAPS = SCHEME.require("", "v1", "configmaps")
CONTEXT = Context(user=Identity("user", ()))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of some milliseconds."""
    monkeypatch.setattr(freshness, "WAIT_SECONDS", 0.02)
    monkeypatch.setattr(freshness, "MOMENT_SECONDS", 5.02)


async def test_a_revision_that_does_not_come(pipeline: Pipeline) -> None:
    error = await refused(fresh(pipeline.cache, "99999"))
    revision = pipeline.cache.revision
    assert error.message == f"Timeout: Too large resource version: 99999, current: {revision}"
    assert error.details is not None
    assert error.details["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert (error.code, error.details["retryAfterSeconds"]) == (504, 1)


async def test_a_master_that_is_behind_says_so(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ahead() -> int:
        return 99999

    monkeypatch.setattr(pipeline.store, "revision", ahead)
    error = await refused(fresh(pipeline.cache))
    assert error.message.startswith("Timeout: this master is behind its store")
    assert "revision 99999" in error.message
    assert error.details == {"retryAfterSeconds": 1}


async def test_what_came_while_the_loop_was_busy_is_read(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the wait comes first, and what has arrived is read some turns later."""
    waits, tries = pipeline.cache.wait_for, []

    async def busy(revision: int, timeout_seconds: float) -> None:
        tries.append(timeout_seconds)
        if len(tries) == 1:
            await pipeline.store.create("/wherry/registry/configmaps/n/late", b"{}")
            raise NotYet("the timer was faster")
        await waits(revision, timeout_seconds)

    monkeypatch.setattr(pipeline.cache, "wait_for", busy)
    await fresh(pipeline.cache, str(pipeline.cache.revision + 1))
    assert tries == [freshness.WAIT_SECONDS, freshness.MOMENT_SECONDS]


async def _written(pipeline: Pipeline, name: str) -> int:
    """Create a ConfigMap; its revision."""
    made = ConfigMap(metadata=ObjectMeta(name=name))
    data = await pipeline.create(CONTEXT, Target(CONFIG_MAPS, "n", name), made)
    return int(codec.decode_plain(data)["metadata"]["resourceVersion"])


@pytest.fixture
def behind(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache shows nothing new from now on."""
    revision = pipeline.cache.revision

    async def never(revision: int, timeout_seconds: float) -> None:
        raise NotYet("others have written too much")

    monkeypatch.setattr(WatchCache, "revision", property(lambda _: revision))
    monkeypatch.setattr(pipeline.cache, "wait_for", never)


@pytest.mark.usefixtures("behind")
async def test_who_reads_one_object_does_not_wait_for_what_others_write(
    pipeline: Pipeline,
) -> None:
    revision = await _written(pipeline, "a")
    stored = fakes.stored(pipeline)
    found = codec.decode_plain(await stored.get(Target(CONFIG_MAPS, "n", "a")))
    assert found["metadata"]["name"] == "a"
    assert found["metadata"]["resourceVersion"] == str(revision)
    error = await refused(stored.get(Target(CONFIG_MAPS, "n", "none")))
    assert (error.code, error.message) == (404, 'configmaps "none" not found')


@pytest.mark.usefixtures("behind")
async def test_nor_for_what_another_master_writes(pipeline: Pipeline) -> None:
    key = registry_key("configmaps", "a", "n")
    made = ConfigMap(metadata=ObjectMeta(name="a", namespace="n"))
    revision = await pipeline.store.create(key, codec.encode(made))
    assert pipeline.backlog() == 0
    found = codec.decode_plain(await fakes.stored(pipeline).get(Target(CONFIG_MAPS, "n", "a")))
    assert found["metadata"]["resourceVersion"] == str(revision)


@pytest.mark.usefixtures("behind")
async def test_nothing_waits_for_a_write_that_a_restored_store_does_not_have(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        await _written(pipeline, name)
    assert pipeline.backlog() == 3
    shown, create = pipeline.cache.revision, pipeline.store.create

    async def earlier(key: str) -> tuple[KeyValue | None, int]:
        return None, shown

    with monkeypatch.context() as restored:
        restored.setattr(pipeline.store, "get", earlier)
        await refused(fakes.stored(pipeline).get(Target(CONFIG_MAPS, "n", "c")))
        assert pipeline.backlog() == 0, "who reads learns of it"
    await _written(pipeline, "d")
    assert pipeline.backlog() == 4

    async def created(key: str, value: bytes, **options: object) -> int:
        await create(key, value)
        return shown + 1

    monkeypatch.setattr(pipeline.store, "create", created)
    await _written(pipeline, "e")
    assert pipeline.backlog() == 1, "so does who writes"
