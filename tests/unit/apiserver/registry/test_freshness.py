"""A cache that is behind: how long an answer waits for it, and what is said then."""

from __future__ import annotations

import pytest

from master.apiserver.registry import freshness
from master.apiserver.registry.freshness import fresh
from master.apiserver.registry.pipeline import Pipeline
from master.storage.watchcache import NotYet
from tests.unit.apiserver.request.test_patches import refused


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
