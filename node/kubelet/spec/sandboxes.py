"""What a pod's sandbox is made from: host name, /etc/hosts and resolv.conf. Pure.

Source: k8s.io/kubernetes pkg/kubelet/network/dns and pkg/kubelet/kubelet_pods.go.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from common.api.types.core_v1 import Pod
from node.kubelet.spec import env, sysctls
from node.kubelet.spec.texts import ConfigError
from node.runtime.base import HostPort, SandboxSpec

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARACTERS = 2048
MAX_DOMAIN_CHARACTERS = 253
RESOLVED_ADDRESS = "127.0.0.53"


class NodeFiles(NamedTuple):
    """The machine's own files of /etc."""

    hosts: str
    resolv_conf: str


def sandbox_spec(pod: Pod, address: str, of_node: NodeFiles) -> SandboxSpec:
    """What a pod's sandbox is made from. Raises ConfigError for a name that is too long."""
    return SandboxSpec(
        pod_uid=pod.metadata.uid,
        pod_namespace=pod.metadata.namespace,
        pod_name=pod.metadata.name,
        hostname=env.hostname(pod),
        address="" if pod.spec.hostNetwork else address,
        hosts=_hosts(pod, address, of_node.hosts),
        resolv_conf=_resolv_conf(pod, of_node.resolv_conf),
        sysctls=sysctls.settings(pod),
        host_ports=() if pod.spec.hostNetwork else _host_ports(pod),
    )


def _host_ports(pod: Pod) -> list[HostPort]:
    """What containers ask for of the machine's ports. Raises ConfigError."""
    containers = (*pod.spec.initContainers, *pod.spec.containers)
    ports = [port for container in containers for port in container.ports if port.hostPort]
    return [
        HostPort(
            port=port.hostPort,
            protocol=_protocol(port.protocol or "TCP"),
            pod_port=port.containerPort,
            address=_host_address(port.hostIP),
        )
        for port in ports
    ]


def _protocol(name: str) -> str:
    if name not in ("TCP", "UDP", "SCTP"):
        raise ConfigError(f"protocol {name!r} of a host port is not supported")
    return name


def _host_address(text: str) -> str:
    """An address of the machine; empty for all of them. It becomes a part of nftables' script."""
    try:
        address = ip_address(text or "0.0.0.0")  # noqa: S104 - a name of all, none to listen on
    except ValueError as error:
        raise ConfigError(f"hostIP {text!r} is not an IP address") from error
    if address.version == 6 and not address.is_unspecified:
        raise ConfigError(f"hostIP {text} is not IPv4")
    return "" if address.is_unspecified else str(address)


def _hosts(pod: Pod, address: str, of_node: str) -> str:
    """/etc/hosts: the pod's own name, or on the host network the machine's; and its hostAliases."""
    if pod.spec.hostNetwork:
        lines = ["# Kubernetes-managed hosts file (host network).", of_node.rstrip("\n")]
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::0\tip6-localnet",
            "fe00::0\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
            "\t".join((address, *dict.fromkeys(reversed(env.names(pod))))),
        ]
    if pod.spec.hostAliases:
        lines.append("\n# Entries added by HostAliases.")
        lines += ["\t".join((alias.ip, *alias.hostnames)) for alias in pod.spec.hostAliases]
    return "\n".join(lines) + "\n"


def resolver_for_pods(of_machine: str, behind: str) -> str:
    """The machine's resolv.conf, or the one `behind` it: systemd-resolved answers on the machine's
    loopback only, where pods cannot ask it, and says elsewhere whom it asks.
    """
    servers, _, _ = _parse_resolv_conf(of_machine)
    return behind if behind and servers == [RESOLVED_ADDRESS] else of_machine


def _resolv_conf(pod: Pod, of_node: str) -> str:
    """resolv.conf by dnsPolicy, with what dnsConfig adds."""
    config = pod.spec.dnsConfig
    base = "" if pod.spec.dnsPolicy == "None" else of_node
    if config is None:
        return base
    servers, searches, options = _parse_resolv_conf(base)
    servers = list(dict.fromkeys((*servers, *config.nameservers)))[:MAX_NAMESERVERS]
    searches = _within_limits(list(dict.fromkeys((*searches, *config.searches))))
    options |= {option.name: option.value or "" for option in config.options}
    lines = [f"nameserver {server}" for server in servers]
    if searches:
        lines.append(f"search {' '.join(searches)}")
    if options:
        words = [f"{name}:{value}" if value else name for name, value in options.items()]
        lines.append(f"options {' '.join(words)}")
    return "\n".join(lines) + "\n"


def _parse_resolv_conf(text: str) -> tuple[list[str], list[str], dict[str, str]]:
    """Servers, search list and options by name. As resolvers do: of `search` the last line counts,
    and of each option the last value."""
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str] = {}
    for line in text.splitlines():
        match line.split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search", *domains]:
                searches = [domain.removesuffix(".") for domain in domains if domain != "."]
            case ["options", *words]:
                options |= {name: value for name, _, value in (w.partition(":") for w in words)}
    return servers, searches, options


def _within_limits(searches: list[str]) -> list[str]:
    """A search list within Kubernetes' limits: glibc aborts at a domain that is too long."""
    kept = [domain for domain in searches[:MAX_SEARCHES] if len(domain) <= MAX_DOMAIN_CHARACTERS]
    while len(" ".join(kept)) > MAX_SEARCH_CHARACTERS:
        kept.pop()
    return kept
