"""Services: Kubernetes' defaults and messages; what a change of type keeps and drops."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.types.core_v1 import Service
from tests.unit.apiserver.conftest import Writer


def service(**spec: Any) -> dict[str, Any]:
    """A service on port 80 with a selector."""
    fields = {"ports": [{"port": 80}], "selector": {"app": "web"}, **spec}
    return {"metadata": {"name": "web", "namespace": "n"}, "spec": fields}


def test_defaults(writer: Writer) -> None:
    spec = writer.create("services", service()).spec
    [port] = spec.ports
    assert (spec.type, spec.sessionAffinity, spec.internalTrafficPolicy) == (
        "ClusterIP",
        "None",
        "Cluster",
    )
    assert (port.protocol, port.targetPort, port.nodePort) == ("TCP", 80, 0)
    assert (spec.ipFamilies, spec.ipFamilyPolicy) == (("IPv4",), "SingleStack")
    assert writer.create_problems("services", service()) == []


def test_affinity_lasts_three_hours(writer: Writer) -> None:
    spec = writer.create("services", service(sessionAffinity="ClientIP")).spec
    assert spec.sessionAffinityConfig.clientIP.timeoutSeconds == 10800


def test_a_headless_service_without_selector_may_have_both_families(writer: Writer) -> None:
    spec = writer.create("services", service(clusterIP="None", selector={})).spec
    assert (spec.ipFamilies, spec.ipFamilyPolicy) == (("IPv4", "IPv6"), "RequireDualStack")


TWO = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        ({"type": "x"}, 'spec.type: Unsupported value: "x": supported values: "ClusterIP", '),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port: Invalid value: 0: must be between 1 and"),
        ({"ports": [{"port": 80}, {"port": 81}]}, "spec.ports[0].name: Required value"),
        (
            {"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]},
            'spec.ports[1].name: Duplicate value: "a"',
        ),
        (
            {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]},
            "spec.ports[1]: Duplicate value",
        ),
        (
            {"ports": [{"port": 80, "nodePort": 30001}]},
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. "
            "The range of valid ports is 30000-32767",
        ),
        (
            {"type": "NodePort", "clusterIP": "None"},
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort",
        ),
        (
            {"clusterIP": "1.2.3.4"},
            'spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the '
            "provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is "
            "10.96.0.0/16",
        ),
        ({"clusterIP": "10.96.0.0"}, "spec.clusterIPs: Invalid value"),
        ({"clusterIP": "x"}, "spec.clusterIPs[0]: Invalid value"),
        ({"clusterIPs": ["10.96.0.9"]}, "must be empty when `clusterIP` is not specified"),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        (
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}, "type": "x"},
            "spec.type",
        ),
        (
            {
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}},
            },
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be "
            "greater than 0 and less than 86400",
        ),
        ({"externalTrafficPolicy": "Local"}, "may only be set for externally-accessible services"),
        ({"internalTrafficPolicy": "x"}, "spec.internalTrafficPolicy: Unsupported value"),
        ({"externalIPs": ["127.0.0.1"]}, "may not be in the loopback range"),
        ({"externalIPs": ["010.0.0.1"]}, "must be a valid IP address"),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured'),
        ({"ipFamilyPolicy": "RequireDualStack"}, "is not configured for dual-stack services"),
        ({"loadBalancerClass": "a/b"}, "may only be used when `type` is 'LoadBalancer'"),
        ({"healthCheckNodePort": 30000}, "spec.healthCheckNodePort: Invalid value: 30000"),
    ],
)
def test_findings(writer: Writer, spec: dict[str, Any], problem: str) -> None:
    found = writer.create_problems("services", service(**spec))
    assert any(problem in text for text in found), found


def allocated(writer: Writer, **spec: Any) -> dict[str, Any]:
    """A service as it is stored, with an address."""
    return service(clusterIP="10.96.0.9", clusterIPs=["10.96.0.9"], **spec)


def test_an_update_keeps_the_address_and_the_node_ports_that_it_leaves_out(writer: Writer) -> None:
    old = allocated(writer, type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    made = writer.update("services", service(type="NodePort", ports=[{"port": 8080}]), old)
    assert (made.spec.clusterIP, made.spec.clusterIPs) == ("10.96.0.9", ("10.96.0.9",))
    assert [port.nodePort for port in made.spec.ports] == [30080]


def test_a_change_of_type_drops_what_the_new_type_has_no_use_for(writer: Writer) -> None:
    old = allocated(writer, type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    new = allocated(writer, type="ClusterIP", ports=[{"port": 80, "nodePort": 30080}])
    new["spec"]["externalTrafficPolicy"] = "Cluster"
    made = writer.update("services", new, old)
    assert made.spec.ports[0].nodePort == 0
    assert made.spec.externalTrafficPolicy == ""
    named = allocated(writer, type="ExternalName", externalName="example.com")
    made = writer.update("services", named, old)
    assert (made.spec.clusterIP, made.spec.ipFamilies, made.spec.ipFamilyPolicy) == ("", (), None)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"clusterIP": "10.96.0.10"}, "may not change once set"),
        ({"clusterIP": "None"}, "may not change once set"),
    ],
)
def test_an_address_never_changes(writer: Writer, spec: dict[str, Any], problem: str) -> None:
    new = allocated(writer)
    new["spec"] |= spec
    [found] = writer.update_problems("services", new, allocated(writer))
    assert problem in found


def test_a_load_balancer_is_stored_with_a_warning(writer: Writer) -> None:
    from tests.unit.apiserver.conftest import STRATEGIES

    made: Service = writer.create("services", service(type="LoadBalancer"))
    [warning] = STRATEGIES["services"].warnings(made)
    assert "no load balancer" in warning
    assert STRATEGIES["services"].warnings(writer.create("services", service())) == []


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.1.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("224.0.0.1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("239.1.1.1", "may not be in the multicast range"),
        ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("::1", "may not be in the loopback range"),
        ("nonsense", "must be a valid IP address"),
    ],
)
def test_endpoints_at_special_addresses_are_refused(
    writer: Writer, address: str, problem: str
) -> None:
    meta = {"name": "web", "namespace": "n"}
    subset = {"addresses": [{"ip": address}], "ports": [{"port": 80}]}
    found = writer.create_problems("endpoints", {"metadata": meta, "subsets": [subset]})
    assert any(
        f'subsets[0].addresses[0].ip: Invalid value: "{address}": {problem}' in text
        for text in found
    ), found
    made = {
        "metadata": meta,
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"port": 80}],
    }
    found = writer.create_problems("endpointslices.discovery.k8s.io", made)
    assert any(
        f'endpoints[0].addresses[0]: Invalid value: "{address}": {problem}' in text
        for text in found
    ), found


def test_slices_have_one_kind_of_address(writer: Writer) -> None:
    def made(kind: str, *addresses: str) -> dict[str, Any]:
        endpoints = [{"addresses": list(addresses)}]
        meta = {"name": "web", "namespace": "n"}
        return {"metadata": meta, "addressType": kind, "endpoints": endpoints, "ports": []}

    name = "endpointslices.discovery.k8s.io"
    assert writer.create_problems(name, made("IPv4", "10.0.0.1")) == []
    assert "must be an IPv4 address" in writer.create_problems(name, made("IPv4", "fd00::1"))[0]
    assert "must contain at least 1 address" in writer.create_problems(name, made("IPv4"))[0]
    [found] = writer.update_problems(name, made("IPv6", "fd00::1"), made("IPv4", "10.0.0.1"))
    assert "addressType: Invalid value" in found
