"""Cluster IPs and node ports: each has one owner, in the transaction that writes the service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Endpoints, Node, NodeAddress, NodeStatus, Service
from common.api.types.meta_v1 import ObjectMeta
from common.security.identity import Identity
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions
from master.apiserver.request.target import Target
from master.storage.keys import registry_key
from tests.fakes.chain import calling, reports
from tests.unit.apiserver.resources.core.test_service import service

FOUND = SCHEME.resource("", "v1", "services")
assert FOUND is not None
SERVICES = FOUND


def context(user: str = "admin") -> Context:
    return Context(user=Identity(user, ("system:masters",)))


async def create(pipeline: Pipeline, name: str, **spec: Any) -> Service:
    plain = service(**spec)
    plain["metadata"]["name"] = name
    obj, _ = codec.convert_request(plain, Service)
    return codec.decode(await pipeline.create(context(), Target(SERVICES, "n"), obj), Service)


async def change(pipeline: Pipeline, name: str, **spec: Any) -> Service:
    """Update some members of a service's spec."""

    def changed(current: Service) -> Service:
        for member, value in spec.items():
            setattr(current.spec, member, value)
        return current

    data = await pipeline.update(context(), Target(SERVICES, "n", name), changed)
    return codec.decode(data, Service)


async def delete(pipeline: Pipeline, name: str) -> None:
    await pipeline.delete(context(), Target(SERVICES, "n", name), DeleteOptions())


async def test_every_service_has_an_address_of_its_own(pipeline: Pipeline) -> None:
    made = await asyncio.gather(*[create(pipeline, f"s{number}") for number in range(40)])
    found = {one.spec.clusterIP for one in made}
    assert len(found) == 40
    assert all(address.startswith("10.96.") for address in found)
    assert all(one.spec.clusterIPs == (one.spec.clusterIP,) for one in made)


async def test_an_explicit_address_is_honoured_refused_while_taken_and_free_again(
    pipeline: Pipeline,
) -> None:
    made = await create(pipeline, "first", clusterIP="10.96.0.10")
    assert made.spec.clusterIPs == ("10.96.0.10",)
    with pytest.raises(errors.StatusError) as raised:
        await create(pipeline, "second", clusterIP="10.96.0.10")
    assert raised.value.code == 422
    assert raised.value.message.endswith(
        'spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: '
        "provided IP is already allocated"
    )
    await delete(pipeline, "first")
    assert (await create(pipeline, "second", clusterIP="10.96.0.10")).spec.clusterIP


async def test_node_ports_are_given_and_an_explicit_one_has_one_owner(pipeline: Pipeline) -> None:
    two = [
        {"name": "t", "port": 53, "protocol": "TCP"},
        {"name": "u", "port": 53, "protocol": "UDP"},
        {"name": "w", "port": 80},
    ]
    made = await create(pipeline, "a", type="NodePort", ports=two)
    tcp, udp, web = (port.nodePort for port in made.spec.ports)
    assert tcp == udp, "TCP and UDP of one port share a number"
    assert web != tcp
    assert all(30000 <= number <= 32767 for number in (tcp, web))
    with pytest.raises(errors.StatusError) as raised:
        await create(pipeline, "b", type="NodePort", ports=[{"port": 1, "nodePort": web}])
    assert f"spec.ports[0].nodePort: Invalid value: {web}: provided port is already allocated" in (
        raised.value.message
    )


async def test_a_change_of_type_allocates_and_releases(pipeline: Pipeline) -> None:
    await create(pipeline, "a")
    made = await change(pipeline, "a", type="NodePort")
    number = made.spec.ports[0].nodePort
    assert number
    made = await change(pipeline, "a", type="ClusterIP")
    assert made.spec.ports[0].nodePort == 0
    again = await create(pipeline, "b", type="NodePort", ports=[{"port": 1, "nodePort": number}])
    assert again.spec.ports[0].nodePort == number


async def test_an_external_name_gives_its_address_back_and_gets_one_again(
    pipeline: Pipeline,
) -> None:
    before = (await create(pipeline, "a")).spec.clusterIP
    made = await change(pipeline, "a", type="ExternalName", externalName="example.com")
    assert made.spec.clusterIP == ""
    assert (await create(pipeline, "b", clusterIP=before)).spec.clusterIP == before
    made = await change(pipeline, "a", type="ClusterIP", externalName="")
    assert made.spec.clusterIP not in ("", before)


async def test_headless_services_take_no_address(pipeline: Pipeline) -> None:
    made = await create(pipeline, "a", clusterIP="None")
    assert (made.spec.clusterIP, made.spec.clusterIPs) == ("None", ("None",))
    assert (await create(pipeline, "b", clusterIP="None")).spec.clusterIP == "None"


async def test_an_update_of_anything_else_keeps_what_is_allocated(pipeline: Pipeline) -> None:
    before = await create(pipeline, "a", type="NodePort")
    after = await change(pipeline, "a", selector={"app": "other"}, clusterIP="", clusterIPs=())
    assert after.spec.clusterIP == before.spec.clusterIP
    assert after.spec.ports == before.spec.ports


ENDPOINTS = SCHEME.require("", "v1", "endpoints")


async def test_only_controllers_lead_services_to_nodes(pipeline: Pipeline) -> None:
    node = Node(
        metadata=ObjectMeta(name="node1"),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address="192.168.7.1"),)),
    )
    revision = await pipeline.store.create(registry_key("nodes", "node1"), codec.encode(node))
    await pipeline.cache.wait_for(revision, 5.0)
    subset = {"addresses": [{"ip": "192.168.7.1"}], "ports": [{"port": 80}]}
    plain = {"metadata": {"name": "web"}, "subsets": [subset]}
    obj, _ = codec.convert_request(plain, Endpoints)
    with pytest.raises(errors.StatusError) as raised:
        await pipeline.create(context(), Target(ENDPOINTS, "n"), obj)
    assert "may not be the address of a node (node1)" in raised.value.message
    obj, _ = codec.convert_request(plain, Endpoints)
    user = context("system:serviceaccount:kube-system:endpoint-controller")
    assert await pipeline.create(user, Target(ENDPOINTS, "n"), obj)


async def lead_to(pipeline: Pipeline, address: str) -> None:
    """Write endpoints as a user."""
    subset = {"addresses": [{"ip": address}], "ports": [{"port": 80}]}
    plain = {"metadata": {"generateName": "web-"}, "subsets": [subset]}
    obj, _ = codec.convert_request(plain, Endpoints)
    await pipeline.create(context(), Target(ENDPOINTS, "n"), obj)


async def test_an_address_that_a_node_only_names_is_free_for_services(pipeline: Pipeline) -> None:
    """It has shown that it has the one that it calls from."""
    identity = Identity("system:node:n1", ("system:nodes",))
    addresses = [{"type": "InternalIP", "address": text} for text in ("10.0.0.1", "10.0.0.7")]
    hello = codec.encode({"metadata": {"name": "n1"}, "status": {"addresses": addresses}})
    for own, other in (("10.0.0.1", "10.0.0.7"), ("10.0.0.7", "10.0.0.1")):
        await reports(pipeline).register(calling(identity, own), "n1", hello)
        await pipeline.cache.wait_for(await pipeline.store.revision(), 5.0)
        await lead_to(pipeline, other)
        with pytest.raises(errors.StatusError, match="may not be the address of a node"):
            await lead_to(pipeline, own)
