"""The built-in resources over a store in memory, put together as a master does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from common.api.scheme import Scheme
from common.runtime.clock import Clock
from common.runtime.rng import SystemRng
from master.apiserver.registry.admission import Admission
from master.apiserver.registry.catalogue import Catalogue
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.reads import Reads
from master.apiserver.registry.registry import Registry
from master.apiserver.registry.stored import Stored
from master.apiserver.registry.strategy import Settings
from master.apiserver.resources.catalogue import definitions
from master.config import MasterConfig
from master.nodes.sessions import NodeSessions
from master.storage.memory import MemoryStore
from master.storage.store import Store
from master.storage.watchcache import WatchCache
from master.wiring import registry as wiring
from tests.fakes.roles import authorizer

CLUSTER_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
NO_ADMISSION = Admission()


def pipeline(
    store: Store,
    cache: WatchCache,
    clock: Clock,
    admission: Admission = NO_ADMISSION,
    *,
    cluster_cidr: str = CLUSTER_CIDR,
    service_cidr: str = SERVICE_CIDR,
) -> Pipeline:
    """One whose catalogue has every built-in resource."""
    made = Pipeline(
        store=store,
        cache=cache,
        catalogue=Catalogue(Scheme()),
        admission=admission,
        clock=clock,
        rng=SystemRng(),
    )
    settings = Settings(cluster_cidr, service_cidr, clock)
    for one in definitions(made.scheme, settings, stored(made), handlers={}, subresources={}):
        made.catalogue.add(one)
    return made


def stored(of: Pipeline) -> Stored:
    """Who answers for what a pipeline stores."""
    return Stored(of, reads(of))


def reads(of: Pipeline) -> Reads:
    """Lists and watches of what a pipeline writes."""
    return Reads(of.store, of.cache, of.catalogue.fields_of)


def registry(
    of: Pipeline,
    *,
    handlers: Mapping[str, Handler] | None = None,
    subresources: Mapping[str, Handler] | None = None,
) -> Registry:
    """The registry of a pipeline, where others answer for some resources and subresources."""
    for resource in of.scheme.resources():
        one, name = of.catalogue.require(resource), resource.group_resource
        answered = {
            sub.name: handler
            for sub in resource.subresources
            if (handler := (subresources or {}).get(sub.name))
        }
        of.catalogue.add(
            replace(
                one,
                handler=(handlers or {}).get(name, one.handler),
                subresources={**one.subresources, **answered},
            )
        )
    return Registry(of)


def whole(clock: Clock) -> Registry:
    """All that a master serves, over an empty store: for what is said of it, not for calls."""
    store = MemoryStore(clock)
    roles, cache = authorizer(), WatchCache(store, clock)
    written = wiring.pipeline(MasterConfig(), store, cache, roles, clock=clock, rng=SystemRng())
    nobody: Any = SimpleNamespace(keys=None)
    return wiring.registry(
        MasterConfig(),
        written,
        roles,
        wiring.Tokens(nobody, nobody),
        wiring.Reported({}, {}),
        NodeSessions(rng=SystemRng()),
    )
