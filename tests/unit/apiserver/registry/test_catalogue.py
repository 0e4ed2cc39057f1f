"""Resources of the same name in two groups, and one that comes and goes while all is served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from common.api.errors import StatusError
from common.api.resource import Resource
from common.security.identity import Identity
from master.apiserver import tables
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.registry import Registry
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.mediatypes import MERGE_PATCH
from master.apiserver.request.options import ListOptions
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.apiserver.rest import discovery, requestinfo
from master.apiserver.rest.openapi.documents import OpenAPI
from tests.fakes import registry as fakes
from tests.fakes.otherservices import SERVICES, services

GROUP_PATH = "apis/serving.example.dev/v1"


@pytest.fixture
async def registry(pipeline: Pipeline) -> Registry:
    """All built-in resources, and Services of another group."""
    pipeline.catalogue.add(services(fakes.stored(pipeline)))
    return Registry(pipeline)


def context() -> Context:
    return Context(user=Identity("u"))


async def create(registry: Registry, resource: Resource, plain: dict[str, Any]) -> Any:
    data = await registry.create(context(), Target(resource, "n"), Body(json.dumps(plain).encode()))
    made = json.loads(data)
    await registry.pipeline.cache.wait_for(int(made["metadata"]["resourceVersion"]), 5.0)
    return made


@pytest.fixture
async def both(registry: Registry) -> tuple[Resource, Resource]:
    """Services of core/v1 and of the other group, of each an object `s`."""
    core = registry.scheme.require("", "v1", "services")
    spec = {"ports": [{"port": 80}], "type": "ClusterIP"}
    made = await create(registry, core, {"metadata": {"name": "s"}, "spec": spec})
    assert made["spec"]["clusterIP"]
    made = await create(registry, SERVICES, {"metadata": {"name": "s"}, "spec": {"image": "i"}})
    assert made["spec"] == {"image": "i", "traffic": 100}
    return core, SERVICES


async def test_each_has_its_own_rules_cells_and_fields(
    registry: Registry, both: tuple[Resource, Resource]
) -> None:
    rows = {}
    for resource in both:
        target = Target(resource, "n")
        found = await registry.list(target, ListOptions())
        row = tables.row(registry.shown(target), found.items[0], registry.pipeline.clock.now(), "")
        rows[resource.group] = row["cells"]
    assert rows[""][:2] == ["s", "ClusterIP"]
    assert rows["serving.example.dev"] == ["s", "", "100%"]
    core, other = both
    for resource, selector, count in (
        (core, "spec.type=ClusterIP", 1),
        (other, "spec.image=i", 1),
        (other, "spec.image!=i", 0),
    ):
        options = ListOptions(field_selector=selector)
        assert len((await registry.list(Target(resource, "n"), options)).items) == count
    for resource, selector in ((core, "spec.image=i"), (other, "spec.type=ClusterIP")):
        with pytest.raises(StatusError) as raised:
            await registry.list(Target(resource, "n"), ListOptions(field_selector=selector))
        assert "field label not supported" in raised.value.message


async def test_each_is_found_by_its_own_names(
    registry: Registry, both: tuple[Resource, Resource]
) -> None:
    core, other = both
    scheme = registry.scheme
    assert scheme.resource_of("v1", "Service") == scheme.find("services") == core
    assert scheme.resource_of("serving.example.dev/v1", "Service") == other
    assert scheme.find("services.serving.example.dev") == scheme.find("ksvc") == other
    paths = {"/api/v1/namespaces/n/services": core, f"/{GROUP_PATH}/namespaces/n/services": other}
    for path, resource in paths.items():
        info = requestinfo.parse("GET", requestinfo.segments(path), {}, scheme)
        assert info is not None
        assert info.target.resource == resource


async def test_status_and_generation_of_one_that_is_a_dictionary(
    registry: Registry, both: tuple[Resource, Resource]
) -> None:
    one = Target(SERVICES, "n", "s")
    patch = Patch(b'{"status": {"url": "http://s"}, "spec": {"traffic": 1}}', MERGE_PATCH)
    made = json.loads(await registry.patch(context(), one._replace(subresource="status"), patch))
    assert (made["status"], made["spec"]["traffic"]) == ({"url": "http://s"}, 100)
    made = json.loads(await registry.patch(context(), one, patch))
    assert (made["spec"]["traffic"], made["metadata"]["generation"]) == (1, 2)


def served(registry: Registry, openapi: OpenAPI) -> Iterator[bool]:
    """Whether a resource is in each place that tells of it."""
    yield discovery.api_resource_list(registry.catalogue, SERVICES.group, "v1") is not None
    groups = discovery.aggregated(registry.catalogue, core=False, version="v2")["items"]
    yield SERVICES.group in [group["metadata"]["name"] for group in groups]
    yield GROUP_PATH in openapi.index()["paths"]
    yield f"/{GROUP_PATH}/namespaces/{{namespace}}/services".encode() in openapi.version_2()
    yield registry.scheme.resource(SERVICES.group, "v1", "services") is not None


async def test_one_that_comes_and_goes_is_told_and_answered_while_it_is_there(
    registry: Registry,
) -> None:
    openapi, stored = OpenAPI(registry.catalogue), fakes.stored(registry.pipeline)
    for _ in range(2):
        assert all(served(registry, openapi))
        registry.catalogue.remove(SERVICES)
        assert not any(served(registry, openapi))
        for call in (
            registry.get(Target(SERVICES, "n", "s")),
            registry.list(Target(SERVICES, "n"), ListOptions()),
            registry.create(context(), Target(SERVICES, "n"), Body(b"{}")),
        ):
            with pytest.raises(StatusError) as raised:
                await call
            assert raised.value.code == 404
        registry.catalogue.add(services(stored))
    document = json.loads(openapi.document(GROUP_PATH) or b"")
    assert set(document["paths"][f"/{GROUP_PATH}/namespaces/{{namespace}}/services"]) >= {
        "get",
        "post",
    }


def test_every_subresource_that_is_answered_is_declared(registry: Registry) -> None:
    for resource in registry.scheme.resources():
        for name in registry.catalogue.require(resource).subresources:
            assert resource.subresource(name) is not None, (resource, name)
