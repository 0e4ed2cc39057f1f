"""Objects as users write them, taken through a strategy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Namespace, ServiceAccount
from common.api.types.meta_v1 import ObjectMeta
from common.runtime.rng import SystemRng
from master.apiserver.admission.chain import admission
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.strategy import Settings
from master.apiserver.resources.catalogue import rules
from master.storage.keys import registry_key
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache
from tests.fakes import registry as fakes
from tests.fakes.clock import FakeClock
from tests.fakes.roles import authorizer

SETTINGS = Settings(fakes.CLUSTER_CIDR, fakes.SERVICE_CIDR, FakeClock())
OWN = rules()
STRATEGIES = {
    resource.group_resource: OWN[resource.group_resource].strategy.of(resource, SETTINGS)
    for resource in SCHEME.resources()
    if resource.group_resource in OWN
}


class Writer:
    """Decodes plain values strictly and applies a strategy as the pipeline does."""

    def create(self, resource: str, plain: dict[str, Any]) -> Any:
        """The object after preparation and defaults."""
        strategy = STRATEGIES[resource]
        obj: Any = self.decode(resource, plain)
        strategy.default(obj)
        strategy.prepare_create(obj)
        return obj

    def decode(self, resource: str, plain: dict[str, Any]) -> Any:
        """The Struct of plain values; raises StatusError for what does not fit."""
        cls = SCHEME.struct_of(STRATEGIES[resource].resource)
        obj, findings = codec.convert_request(plain, cls)
        assert findings == []
        return obj

    def create_problems(self, resource: str, plain: dict[str, Any]) -> list[str]:
        """What is wrong with a new object."""
        strategy = STRATEGIES[resource]
        return [str(finding) for finding in strategy.validate(self.create(resource, plain))]

    def update(self, resource: str, new: dict[str, Any], old: dict[str, Any]) -> Any:
        """The object that an update makes of `old`."""
        strategy = STRATEGIES[resource]
        changed = self.decode(resource, new)
        strategy.default(changed)
        strategy.prepare_update(changed, self.create(resource, old))
        return changed

    def update_problems(self, resource: str, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
        """What is wrong with an update."""
        strategy, changed = STRATEGIES[resource], self.update(resource, new, old)
        found = strategy.validate(changed)
        found = found or strategy.validate_update(changed, self.create(resource, old))
        return [str(finding) for finding in found]


@pytest.fixture
def writer() -> Writer:
    """One for each test; it has no state."""
    return Writer()


@pytest.fixture
async def pipeline() -> AsyncIterator[Pipeline]:
    """The whole write pipeline over a store in memory, with the namespace `n`."""
    clock = FakeClock()
    store = MemoryStore(clock)
    cache = WatchCache(store, clock)
    running = asyncio.create_task(cache.run())
    namespace = Namespace(metadata=ObjectMeta(name="n"))
    await store.create(registry_key("namespaces", "n"), codec.encode(namespace))
    account = registry_key("serviceaccounts", "default", "n")
    await store.create(account, codec.encode(ServiceAccount()))
    await cache.wait_for(await store.revision(), 5.0)
    steps = admission(cache, SCHEME, clock, SystemRng(), authorizer())
    yield fakes.pipeline(store, cache, clock, steps)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
