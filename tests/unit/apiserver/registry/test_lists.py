"""Lists in pages: with a filter, too, each object comes once and no page is larger than asked."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import ConfigMap, Container, EnvVar, Pod, PodSpec
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.options import ListOptions, WatchOptions
from master.storage.keys import registry_key
from tests.fakes import registry as fakes

found = SCHEME.resource("", "v1", "configmaps")
assert found is not None
CONFIG_MAPS = found


@pytest.mark.parametrize("seed", range(12))
async def test_pages_of_a_filtered_list_are_the_list(pipeline: Pipeline, seed: int) -> None:
    chance = Random(seed)
    limit, share = chance.randint(1, 6), chance.choice((0.2, 0.5, 0.95, 1.0))
    wanted = []
    for number in range(chance.randint(0, 24)):
        name, app = f"c{number:02}", "y" if chance.random() < share else "n"
        value = ConfigMap(metadata=ObjectMeta(name=name, namespace="n", labels={"app": app}))
        key = registry_key("configmaps", name, "n")
        revision = await pipeline.store.create(key, codec.encode(value))
        await pipeline.cache.wait_for(revision, 5.0)
        wanted += [name] if app == "y" else []
    reads, token, pages = fakes.reads(pipeline), "", []
    while True:
        options = ListOptions(label_selector="app=y", limit=limit, continue_token=token)
        page = await reads.list(CONFIG_MAPS, "n", options)
        pages.append([entry.key.rpartition("/")[2] for entry in page.entries])
        token = page.continue_token
        if not token:
            break
    assert [name for page in pages for name in page] == wanted
    assert all(len(page) == limit for page in pages[:-1])
    assert len(pages[-1]) <= limit


@pytest.mark.parametrize(
    "selector",
    [
        {"field_selector": "status.phase!=Running"},
        {"label_selector": ",".join(f"l{number}!=x" for number in range(200))},
    ],
    ids=["fields", "labels"],
)
async def test_others_have_their_turns_while_a_selector_is_compared(
    pipeline: Pipeline, selector: dict[str, str]
) -> None:
    """A field selector reads every byte of each object of a list."""
    pods = SCHEME.resource("", "v1", "pods")
    assert pods is not None
    for number in range(200):
        env = tuple(EnvVar(name=f"E{n}") for n in range(400))
        value = Pod(
            metadata=ObjectMeta(name=f"p{number}", namespace="n"),
            spec=PodSpec(containers=(Container(name="c", image="x", env=env),)),
        )
        key = registry_key("pods", f"p{number}", "n")
        revision = await pipeline.store.create(key, codec.encode(value))
    await pipeline.cache.wait_for(revision, 5.0)
    reads, turns = fakes.reads(pipeline), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    page = await reads.list(pods, "n", ListOptions(**selector))
    assert (len(page.entries), page.revision) == (200, revision)
    assert turns >= 4
    turns = 0
    watching = reads.watch(pods, "n", WatchOptions(**selector))
    assert len(await anext(watching)) == 200
    await watching.aclose()
    assert turns >= 4
    counting.cancel()
