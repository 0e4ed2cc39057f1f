"""From services and pods to EndpointSlices and Endpoints: what is written, and how little."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.api.types.core_v1 import Endpoints, Pod, Service
from common.api.types.discovery_v1 import Endpoint, EndpointPort, EndpointSlice
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Create, Delete, Update
from master.controllers.services import endpointslices
from master.controllers.services.endpoints import EndpointsController
from master.controllers.services.endpointslice import EndpointSliceController
from master.controllers.services.endpointslicemirroring import EndpointSliceMirroringController
from master.controllers.services.endpointslices import plan
from master.controllers.services.kubernetesservice import KEY, KubernetesServiceController
from master.controllers.services.services import backends
from tests.examples import examples
from tests.unit.controllers.sim import Cluster

SLICES, ENDPOINTS = EndpointSliceController(), EndpointsController()


def a_service(**spec: Any) -> dict[str, Any]:
    port = {"port": 80, "protocol": "TCP", "targetPort": 8080}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}},
        "spec": {"ports": [port], "selector": {"app": "web"}, "type": "ClusterIP", **spec},
    }


def a_pod(number: int, *, ready: bool = True, **changes: Any) -> dict[str, Any]:
    meta = {"name": f"web-{number}", "namespace": "default", "labels": {"app": "web"}}
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    container = {"name": "c", "ports": [{"name": "http", "containerPort": 8000 + number}]}
    made: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**meta, **changes.pop("metadata", {})},
        "spec": {"nodeName": "node1", "containers": [container], **changes.pop("spec", {})},
        "status": {
            "phase": "Running",
            "podIP": f"10.42.{number // 250}.{number % 250 + 2}",
            "conditions": [condition],
            **changes.pop("status", {}),
        },
    }
    made["spec"]["containers"][0]["ports"][0]["protocol"] = "TCP"
    return made


def slices(cluster: Cluster) -> list[EndpointSlice]:
    return cluster.list(EndpointSlice)


def addresses(cluster: Cluster) -> list[str]:
    return sorted(e.addresses[0] for s in slices(cluster) for e in s.endpoints)


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.put(a_service())
    return made


def test_a_service_without_pods_has_one_empty_slice(cluster: Cluster) -> None:
    cluster.settle(SLICES)
    [only] = slices(cluster)
    assert only.endpoints == ()
    labels = only.metadata.labels
    assert labels["kubernetes.io/service-name"] == "web"
    assert labels["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    assert labels["team"] == "a"
    [owner] = only.metadata.ownerReferences
    assert (owner.kind, owner.name) == ("Service", "web")
    cluster.put(a_pod(1))
    [command] = cluster.reconcile(SLICES, "default/web")
    assert isinstance(command, Update), "the empty slice is used, in one write"


@pytest.mark.parametrize(
    ("ready", "deleting", "publish", "expected"),
    [
        (True, False, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (True, True, False, (False, True, True)),
        (False, False, True, (True, False, False)),
        (True, True, True, (True, True, True)),
    ],
)
def test_conditions(
    ready: bool, deleting: bool, publish: bool, expected: tuple[bool, bool, bool]
) -> None:
    cluster = Cluster()
    cluster.put(a_service(publishNotReadyAddresses=publish))
    extra = {"deletionTimestamp": "2030-01-01T00:00:00Z"} if deleting else {}
    cluster.put(a_pod(1, ready=ready, metadata=extra))
    cluster.settle(SLICES)
    [endpoint] = slices(cluster)[0].endpoints
    found = endpoint.conditions
    assert (found.ready, found.serving, found.terminating) == expected
    assert endpoint.nodeName == "node1"
    assert endpoint.targetRef is not None
    assert endpoint.targetRef.name == "web-1"


def test_finished_pods_and_pods_without_address_are_no_endpoints(cluster: Cluster) -> None:
    cluster.put(a_pod(1, status={"phase": "Succeeded"}))
    cluster.put(a_pod(2, status={"podIP": ""}))
    cluster.put(a_pod(3, metadata={"labels": {"app": "other"}}))
    cluster.put(a_pod(4))
    cluster.settle(SLICES, ENDPOINTS)
    assert addresses(cluster) == ["10.42.0.6"]
    [subset] = cluster.get(Endpoints, "web").subsets
    assert [address.ip for address in subset.addresses] == ["10.42.0.6"]


@pytest.mark.parametrize("address", ["garbage", "127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0"])
def test_an_address_that_no_slice_may_have_keeps_nobody_else_out(
    cluster: Cluster, address: str
) -> None:
    cluster.put(a_pod(1, status={"podIP": address}))
    cluster.put(a_pod(2))
    cluster.settle(SLICES)
    cluster.settle(ENDPOINTS)
    assert addresses(cluster) == ["10.42.0.4"]


def test_a_change_of_one_pod_is_one_write_of_one_slice(cluster: Cluster) -> None:
    for number in range(250):
        cluster.put(a_pod(number))
    cluster.settle(SLICES)
    assert sorted(len(s.endpoints) for s in slices(cluster)) == [50, 100, 100]
    cluster.put(a_pod(17, ready=False, metadata={"uid": cluster.get(Pod, "web-17").metadata.uid}))
    [command] = cluster.reconcile(SLICES, "default/web")
    assert isinstance(command, Update)
    cluster.remove(Pod, "web-200")
    [command] = cluster.reconcile(SLICES, "default/web")
    assert isinstance(command, Update)
    cluster.put(a_pod(250))
    [command] = cluster.reconcile(SLICES, "default/web")
    assert isinstance(command, Update)
    assert len(addresses(cluster)) == 250


def test_a_named_port_may_be_another_number_in_each_pod() -> None:
    cluster = Cluster()
    port = {"port": 80, "protocol": "TCP", "targetPort": "http"}
    cluster.put(a_service(ports=[port]))
    for number in (1, 2):
        cluster.put(a_pod(number))
    cluster.settle(SLICES, ENDPOINTS)
    found = {s.ports[0].port: [e.addresses[0] for e in s.endpoints] for s in slices(cluster)}
    assert found == {8001: ["10.42.0.3"], 8002: ["10.42.0.4"]}
    subsets = cluster.get(Endpoints, "web").subsets
    assert sorted(subset.ports[0].port for subset in subsets) == [8001, 8002]


def test_headless_services_are_labelled_and_pods_have_their_names() -> None:
    cluster = Cluster()
    cluster.put(a_service(clusterIP="None"))
    cluster.put(a_pod(1, spec={"hostname": "one", "subdomain": "web"}))
    cluster.settle(SLICES, ENDPOINTS)
    [only] = slices(cluster)
    assert "service.kubernetes.io/headless" in only.metadata.labels
    assert only.endpoints[0].hostname == "one"
    assert cluster.get(Endpoints, "web").subsets[0].addresses[0].hostname == "one"


def test_a_label_of_the_service_does_not_make_its_endpoints_headless() -> None:
    service = a_service()
    service["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    cluster = Cluster()
    cluster.put(service)
    cluster.settle(SLICES, ENDPOINTS)
    for made in (*slices(cluster), cluster.get(Endpoints, "web")):
        assert made.metadata.labels["team"] == "a"
        assert "service.kubernetes.io/headless" not in made.metadata.labels


def test_endpoints_tell_ready_from_not_ready_and_leave_terminating_out(cluster: Cluster) -> None:
    cluster.put(a_pod(1))
    cluster.put(a_pod(2, ready=False))
    cluster.put(a_pod(3, metadata={"deletionTimestamp": "2030-01-01T00:00:00Z"}))
    cluster.settle(ENDPOINTS)
    [subset] = cluster.get(Endpoints, "web").subsets
    assert [address.ip for address in subset.addresses] == ["10.42.0.3"]
    assert [address.ip for address in subset.notReadyAddresses] == ["10.42.0.4"]


def test_endpoints_hold_a_thousand_addresses_and_say_so(cluster: Cluster) -> None:
    for number in range(1001):
        cluster.put(a_pod(number))
    cluster.settle(ENDPOINTS)
    found = cluster.get(Endpoints, "web")
    assert len(found.subsets[0].addresses) == 1000
    assert found.metadata.annotations["endpoints.kubernetes.io/over-capacity"] == "truncated"


def test_endpoints_of_a_service_that_is_gone_are_deleted(cluster: Cluster) -> None:
    cluster.settle(ENDPOINTS)
    cluster.remove(Service, "web")
    [command] = cluster.reconcile(ENDPOINTS, "default/web")
    assert isinstance(command, Delete)


def test_what_a_user_writes_without_a_service_is_left_alone() -> None:
    cluster = Cluster()
    cluster.put(Endpoints(metadata=ObjectMeta(name="web", namespace="default")))
    assert cluster.reconcile(ENDPOINTS, "default/web") == []


def test_endpoints_of_a_service_without_selector_are_mirrored() -> None:
    cluster, mirror = Cluster(), EndpointSliceMirroringController()
    cluster.put(a_service(selector={}))
    subset = {
        "addresses": [{"ip": "10.9.9.1"}, {"ip": "fd00::1"}],
        "notReadyAddresses": [{"ip": "10.9.9.2"}],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    }
    meta = {"name": "web", "namespace": "default"}
    written = {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": [subset]}
    cluster.put(written)
    cluster.settle(mirror)
    found = {s.addressType: s for s in slices(cluster)}
    ready = {e.addresses[0]: e.conditions.ready for e in found["IPv4"].endpoints}
    assert ready == {"10.9.9.1": True, "10.9.9.2": False}
    assert [e.addresses[0] for e in found["IPv6"].endpoints] == ["fd00::1"]
    service = cluster.get(Service, "web")
    service.spec.selector = {"app": "web"}
    cluster.put(service)
    commands = cluster.reconcile(mirror, "default/web")
    assert [type(command) for command in commands] == [Delete, Delete]


def test_so_many_addresses_are_mirrored_and_no_more() -> None:
    """A thousand of a subset, as in Kubernetes, and four thousand in all: it is one turn's work."""
    cluster, mirror = Cluster(), EndpointSliceMirroringController()
    cluster.put(a_service(selector={}))
    subsets = [
        {
            "addresses": [{"ip": f"10.{number}.{n // 250}.{n % 250}"} for n in range(1001)],
            "ports": [{"name": "", "port": 80 + number, "protocol": "TCP"}],
        }
        for number in range(5)
    ]
    meta = {"name": "web", "namespace": "default"}
    cluster.put({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": subsets})
    cluster.settle(mirror)
    counts = Counter[int]()
    for one in slices(cluster):
        counts[one.ports[0].port or 0] += len(one.endpoints)
    assert counts == {80: 1000, 81: 1000, 82: 1000, 83: 1000}


def test_the_service_of_the_api_is_made_and_put_right() -> None:
    cluster = Cluster()
    controller = KubernetesServiceController("192.168.7.1", 6443, "10.43.0.1")
    assert cluster.reconcile(controller, KEY) == [], "there is no namespace yet"
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    assert [type(c) for c in cluster.reconcile(controller, KEY)] == [Create] * 3
    assert cluster.reconcile(controller, KEY) == []
    assert cluster.get(Service, "kubernetes").spec.clusterIP == "10.43.0.1"
    endpoints = cluster.get(Endpoints, "kubernetes")
    endpoints.subsets = ()
    cluster.put(endpoints)
    [command] = cluster.reconcile(controller, KEY)
    assert isinstance(command, Update)


def test_a_master_on_loopback_makes_the_service_alone() -> None:
    cluster = Cluster()
    controller = KubernetesServiceController("127.0.0.1", 6443, "10.43.0.1")
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    assert [type(command) for command in cluster.reconcile(controller, KEY)] == [Create]


PORTS = (EndpointPort(name="", protocol="TCP", port=80),)
TEMPLATE = EndpointSlice(
    metadata=ObjectMeta(generateName="web-", namespace="default"), addressType="IPv4"
)


def endpoints(numbers: frozenset[int]) -> list[Endpoint]:
    return [Endpoint(addresses=(f"10.0.{n // 250}.{n % 250}",)) for n in sorted(numbers)]


def carry_out(
    held: list[EndpointSlice], numbers: frozenset[int]
) -> tuple[list[EndpointSlice], int]:
    """The slices after a plan, and how many writes it took."""
    commands = plan(held, [("IPv4", PORTS, endpoints(numbers))] if numbers else [], TEMPLATE)
    left = {made.metadata.name: made for made in held}
    for count, command in enumerate(commands):
        match command:
            case Create(body=EndpointSlice() as body):
                body.metadata.name = f"web-{len(left)}-{count}-{id(body)}"
                left[body.metadata.name] = body
            case Update(body=EndpointSlice() as body):
                left[body.metadata.name] = body
            case Delete(name=name):
                del left[name]
    return list(left.values()), len(commands)


@settings(deadline=None, max_examples=examples(60))
@given(st.lists(st.frozensets(st.integers(0, 260)), min_size=1, max_size=5))
def test_whatever_changes_slices_hold_just_what_is_wanted(steps: list[frozenset[int]]) -> None:
    held: list[EndpointSlice] = []
    for numbers in steps:
        held, _ = carry_out(held, numbers)
        found = [e.addresses[0] for made in held for e in made.endpoints]
        assert sorted(found) == sorted(e.addresses[0] for e in endpoints(numbers))
        assert all(len(made.endpoints) <= 100 for made in held)
        assert held
        before = [msgspec.json.encode(made) for made in held]
        assert carry_out(held, numbers)[1] == 0, "nothing is left to do"
        assert [msgspec.json.encode(made) for made in held] == before


@settings(deadline=None, max_examples=examples(60))
@given(st.frozensets(st.integers(0, 260), min_size=1), st.integers(0, 260))
def test_one_endpoint_more_or_less_is_one_write(numbers: frozenset[int], one: int) -> None:
    held, _ = carry_out([], numbers)
    changed = numbers ^ {one}
    _, writes = carry_out(held, changed)
    assert writes == 1


def test_what_pods_have_in_common_is_made_once(cluster: Cluster) -> None:
    """A service may have ten thousand ports, and hundreds of pods."""
    ports = [{"name": f"p{n}", "port": n, "protocol": "TCP", "targetPort": n} for n in (1, 2, 3)]
    named = {"name": "named", "port": 9, "protocol": "TCP", "targetPort": "http"}
    for number in range(6):
        pod = a_pod(number)
        pod["spec"]["containers"][0]["ports"][0]["containerPort"] = 8000 + number // 3
        cluster.put(pod)
    for wanted, expected in ((ports, 1), ([*ports, named], 2)):
        cluster.put(a_service(ports=wanted))
        found = backends(cluster.view, cluster.get(Service, "web"))
        assert len({id(backend.ports) for backend in found}) == expected
        assert [len(backend.ports) for backend in found] == [len(wanted)] * 6


def test_slices_are_read_once_however_many_groups_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each subset of somebody's own Endpoints with ports of its own is a group, and a slice."""
    count, encoded = 100, []
    real = endpointslices.codec.encode
    monkeypatch.setattr(endpointslices.codec, "encode", lambda o: encoded.append(o) or real(o))
    groups = [
        ("IPv4", (EndpointPort(port=n + 1),), [Endpoint(addresses=("10.0.0.1",))])
        for n in range(count)
    ]
    made = [command.body for command in plan([], groups, EndpointSlice())]
    for number, found in enumerate(made):
        found.metadata.name = f"s{number}"
    encoded.clear()
    assert [type(command) for command in plan(made, groups[1:], EndpointSlice())] == [Delete]
    assert len(encoded) <= 8 * count
