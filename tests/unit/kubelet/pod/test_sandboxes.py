"""What a pod's sandbox is made from: its hosts file and its resolver."""

from __future__ import annotations

import pytest

from node.kubelet.spec.sandboxes import NodeFiles, resolver_for_pods, sandbox_spec
from node.kubelet.spec.texts import ConfigError
from node.runtime.base import HostPort
from tests.fakes.pods import container, pod

ADDRESS = "10.42.1.2"
OF_NODE = NodeFiles("127.0.0.1\tlocalhost\n192.0.2.1\tnode1.example node1\n", "")
ALIASES = [{"ip": "192.0.2.9", "hostnames": ["db", "db.example"]}]


def hosts(**spec: object) -> list[str]:
    """The lines of a pod's hosts file."""
    address = "" if spec.get("hostNetwork") else ADDRESS
    return sandbox_spec(pod(**spec), address, OF_NODE).hosts.splitlines()


def test_a_pod_has_its_own_name_and_not_the_nodes() -> None:
    assert hosts() == [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
        f"{ADDRESS}\tweb",
    ]


def test_a_pod_on_the_machines_network_has_the_machines_names() -> None:
    assert hosts(hostNetwork=True) == [
        "# Kubernetes-managed hosts file (host network).",
        "127.0.0.1\tlocalhost",
        "192.0.2.1\tnode1.example node1",
    ]


def test_aliases_come_after_both() -> None:
    added = ["", "# Entries added by HostAliases.", "192.0.2.9\tdb\tdb.example"]
    assert hosts(hostAliases=ALIASES) == hosts() + added
    assert hosts(hostAliases=ALIASES, hostNetwork=True) == hosts(hostNetwork=True) + added


def names(**spec: object) -> tuple[str, str]:
    """The host name of a pod, and its line in its hosts file."""
    made = sandbox_spec(pod(**spec), ADDRESS, OF_NODE)
    return made.hostname, made.hosts.splitlines()[-1]


@pytest.mark.parametrize(
    ("spec", "hostname", "line"),
    [
        ({}, "web", "web"),
        ({"hostname": "a"}, "a", "a"),
        ({"hostname": "a", "subdomain": "db"}, "a", "a.db.default.svc.cluster.local\ta"),
        ({"subdomain": "db"}, "web", "web.db.default.svc.cluster.local\tweb"),
        (
            {"subdomain": "db", "setHostnameAsFQDN": True},
            "web.db.default.svc.cluster.local",
            "web.db.default.svc.cluster.local\tweb",
        ),
        ({"setHostnameAsFQDN": True}, "web", "web"),
        ({"subdomain": "db", "hostnameOverride": "a.b"}, "a.b", "a.b"),
    ],
)
def test_the_names_of_a_pod(spec: dict[str, object], hostname: str, line: str) -> None:
    assert names(**spec) == (hostname, f"{ADDRESS}\t{line}")


def test_a_whole_name_that_linux_does_not_take_is_refused() -> None:
    fits = "s" * (64 - len("web..default.svc.cluster.local"))
    assert len(names(subdomain=fits, setHostnameAsFQDN=True)[0]) == 64
    with pytest.raises(ConfigError, match=r"is too long \(64 characters is the max, 65 characters"):
        names(subdomain=fits + "s", setHostnameAsFQDN=True)


def host_ports(**spec: object) -> list[HostPort]:
    """What a pod whose containers have these ports asks for of the machine's."""
    return list(sandbox_spec(pod(**spec), ADDRESS, OF_NODE).host_ports)


def test_the_ports_of_the_machine_that_a_pod_asks_for() -> None:
    first = container("a", ports=[{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081}])
    udp = {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"}
    every = {"containerPort": 82, "hostPort": 82, "protocol": "SCTP", "hostIP": "0.0.0.0"}
    containers = [first, container("b", ports=[udp, every])]
    assert host_ports(containers=containers) == [
        HostPort(8081, "TCP", 81),
        HostPort(53, "UDP", 53, "127.0.0.1"),
        HostPort(82, "SCTP", 82),
    ]
    assert host_ports(containers=containers, hostNetwork=True) == []


@pytest.mark.parametrize(
    ("port", "problem"),
    [
        ({"hostIP": "fd00::1"}, "hostIP fd00::1 is not IPv4"),
        ({"hostIP": "1.2.3.4; flush ruleset"}, "is not an IP address"),
        ({"protocol": "tcp } ; flush"}, "protocol 'tcp } ; flush' of a host port"),
    ],
)
def test_nothing_else_gets_into_the_rules(port: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        host_ports(
            containers=[container("a", ports=[{"containerPort": 80, "hostPort": 80, **port}])]
        )


def resolv_conf(of_node: str, dns_config: dict[str, object] | None, **spec: object) -> list[str]:
    """The lines of a pod's resolv.conf."""
    made = sandbox_spec(pod(dnsConfig=dns_config, **spec), ADDRESS, NodeFiles("", of_node))
    return made.resolv_conf.splitlines()


NODE_RESOLVER = """\
# made by DHCP
nameserver 192.0.2.53
search old.example
search example. corp.example .
options ndots:2 edns0
"""


def test_without_a_dns_config_the_resolver_is_the_machines() -> None:
    assert resolv_conf(NODE_RESOLVER, None) == NODE_RESOLVER.splitlines()


def test_a_dns_config_is_merged_with_the_machines_resolver() -> None:
    merged = resolv_conf(
        NODE_RESOLVER,
        {
            "nameservers": ["10.0.0.1", "192.0.2.53", "10.0.0.2", "10.0.0.3"],
            "searches": ["corp.example", "web.example"],
            "options": [{"name": "ndots", "value": "5"}, {"name": "use-vc"}],
        },
    )
    assert merged == [
        "nameserver 192.0.2.53",
        "nameserver 10.0.0.1",
        "nameserver 10.0.0.2",
        "search example corp.example web.example",
        "options ndots:5 edns0 use-vc",
    ]


def test_policy_none_leaves_the_machines_resolver_out() -> None:
    config = {"nameservers": ["10.0.0.1"], "options": [{"name": "edns0", "value": ""}]}
    found = resolv_conf(NODE_RESOLVER, config, dnsPolicy="None")
    assert found == ["nameserver 10.0.0.1", "options edns0"]


@pytest.mark.parametrize(
    ("of_node", "kept"),
    [
        ([f"d{n}" for n in range(32)], [f"d{n}" for n in range(32)]),
        (["a", "x" * 254, "b"], ["a", "b", "last"]),
        ([f"{n}{'x' * 250}" for n in range(9)], [f"{n}{'x' * 250}" for n in range(8)]),
    ],
)
def test_a_search_list_is_cut_where_kubernetes_cuts_it(of_node: list[str], kept: list[str]) -> None:
    found = resolv_conf(f"search {' '.join(of_node)}\n", {"searches": ["last"]})
    assert found == [f"search {' '.join(kept)}"]


@pytest.mark.parametrize(
    ("of_machine", "behind", "chosen"),
    [
        ("nameserver 127.0.0.53\noptions edns0", "nameserver 10.0.0.1", "behind"),
        ("nameserver 127.0.0.53", "", "of_machine"),
        ("nameserver 10.0.0.2", "nameserver 10.0.0.1", "of_machine"),
        ("nameserver 127.0.0.53\nnameserver 10.0.0.2", "nameserver 10.0.0.1", "of_machine"),
        ("", "nameserver 10.0.0.1", "of_machine"),
    ],
)
def test_pods_ask_whom_systemd_resolved_asks(of_machine: str, behind: str, chosen: str) -> None:
    wanted = {"of_machine": of_machine, "behind": behind}[chosen]
    assert resolver_for_pods(of_machine, behind) == wanted
