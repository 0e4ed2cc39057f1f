"""docs/adding-a-kind.md, followed literally in a copy of the source tree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/adding-a-kind.md"
USE_IT = """
import asyncio, json
from common.api import errors
from common.api.scheme import SCHEME, Scheme
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.identity import Identity
from master.apiserver.request.bodies import Body
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.reads import Reads
from master.apiserver.registry.registry import Registry
from master.apiserver.request.context import Context
from master.apiserver.request.options import ListOptions
from master.apiserver.request.target import Target
from master.apiserver.registry.admission import Admission
from master.apiserver.registry.catalogue import Catalogue
from master.apiserver.registry.stored import Stored
from master.apiserver.registry.strategy import Settings
from master.apiserver.resources.catalogue import definitions
from master.apiserver import tables
from master.apiserver.rest import discovery
from master.apiserver.rest.openapi.documents import OpenAPI
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache

def context():
    return Context(user=Identity("admin"))

async def main():
    clock = SystemClock()
    store = MemoryStore(clock)
    cache = WatchCache(store, clock)
    running = asyncio.create_task(cache.run())
    await cache.wait_for(1, 5.0)
    pipeline = Pipeline(store=store, cache=cache, catalogue=Catalogue(Scheme()),
                        admission=Admission(), clock=clock, rng=SystemRng())
    stored = Stored(pipeline, Reads(store, cache, pipeline.catalogue.fields_of))
    settings = Settings("10.42.0.0/16", "10.43.0.0/16", clock)
    for one in definitions(pipeline.scheme, settings, stored, handlers={}, subresources={}):
        pipeline.catalogue.add(one)
    registry = Registry(pipeline)
    spaces = SCHEME.resource("", "v1", "namespaces")
    body = Body(b'{"metadata":{"name":"default"}}')
    await registry.create(context(), Target(spaces), body)
    await cache.wait_for(await store.revision(), 5.0)
    boats = SCHEME.resource("example.wherry.dev", "v1", "boats")
    crew = [{"name": "ann", "rank": "mate"}]
    body = Body(json.dumps({"metadata": {"name": "b"}, "spec": {"crew": crew}}).encode())
    made = json.loads(await registry.create(context(), Target(boats, "default"), body))
    assert made["kind"] == "Boat" and made["spec"]["seats"] == 4, made
    assert made["metadata"]["generation"] == 1
    try:
        wrong = {"metadata": {"name": "c"}, "spec": {"seats": 1, "crew": crew * 2}}
        body = Body(json.dumps(wrong).encode())
        await registry.create(context(), Target(boats, "default"), body)
    except errors.StatusError as error:
        assert "spec.seats: Invalid value: 1: must be at least" in error.message, error
    else:
        raise AssertionError("a crew that does not fit was accepted")
    from common.api import patch, schema
    merged = patch.strategic(made, {"spec": {"crew": [{"name": "bob"}]}},
                             schema.message("example_v1", "Boat"))
    assert [sailor["name"] for sailor in merged["spec"]["crew"]] == ["bob", "ann"]
    found = await registry.list(Target(boats, "default"), ListOptions())
    four = ListOptions(field_selector="spec.seats=4")
    chosen = await registry.list(Target(boats, "default"), four)
    assert len(chosen.items) == 1
    row = tables.row(registry.shown(Target(boats)), found.items[0], clock.now(), "None")
    assert row["cells"][:2] == ["b", 4], row
    assert discovery.api_group(pipeline.scheme, "example.wherry.dev") is not None
    assert b"Boat" in OpenAPI(pipeline.catalogue).document("apis/example.wherry.dev/v1")
    running.cancel()
    print("a kind was added")

asyncio.run(main())
"""


def blocks(language: str) -> list[str]:
    """The page's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_works(tmp_path: Path) -> None:
    """The message, the generator, the rules and the list: as the page says, and nothing else."""
    for room in ("protos", "common", "master"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    (message,) = blocks("proto")
    (rules,) = blocks("python")
    (tmp_path / "protos/example_v1.proto").write_text(message)
    (tmp_path / "master/apiserver/resources/boat.py").write_text(rules)
    run(tmp_path, "-m", "protos.codegen")
    assert "a kind was added" in run(tmp_path, "-c", USE_IT)


def run(directory: Path, *arguments: str) -> str:
    """Run Python in a copy of the tree, with that copy and no other."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
