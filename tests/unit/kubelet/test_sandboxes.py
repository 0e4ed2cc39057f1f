"""What a pod's sandbox is made from: its hosts file and its resolver."""

from __future__ import annotations

from node.kubelet.sandboxes import NodeFiles, sandbox_spec
from tests.fakes.pods import pod

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
        f"{ADDRESS}\tweb",
    ]


def test_a_pod_on_the_machines_network_has_the_machines_names() -> None:
    assert hosts(hostNetwork=True) == [
        "# Kubernetes-managed hosts file (host network).",
        "127.0.0.1\tlocalhost",
        "192.0.2.1\tnode1.example node1",
    ]


def test_aliases_come_after_both() -> None:
    added = ["", "# Entries added by HostAliases.", "192.0.2.9\tdb db.example"]
    assert hosts(hostAliases=ALIASES) == hosts() + added
    assert hosts(hostAliases=ALIASES, hostNetwork=True) == hosts(hostNetwork=True) + added
