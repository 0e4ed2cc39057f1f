"""From a pod to what its sandbox is made from: its host name, its hosts and resolv.conf. Pure."""

from __future__ import annotations

from typing import NamedTuple

from common.api.types.core_v1 import Pod
from node.kubelet.env import hostname
from node.runtime.base import SandboxSpec


class NodeFiles(NamedTuple):
    """The machine's own files of /etc."""

    hosts: str
    resolv_conf: str


def sandbox_spec(pod: Pod, address: str, of_node: NodeFiles) -> SandboxSpec:
    """What a pod's sandbox is made from."""
    name = hostname(pod)
    return SandboxSpec(
        pod_uid=pod.metadata.uid,
        pod_namespace=pod.metadata.namespace,
        pod_name=pod.metadata.name,
        hostname=name,
        address="" if pod.spec.hostNetwork else address,
        hosts=_hosts(pod, name, address, of_node.hosts),
        resolv_conf=_resolv_conf(pod, of_node.resolv_conf),
    )


def _hosts(pod: Pod, name: str, address: str, of_node: str) -> str:
    """The names of the pod, or of the machine whose network it uses; and its aliases."""
    if pod.spec.hostNetwork:
        lines = ["# Kubernetes-managed hosts file (host network).", of_node.rstrip("\n")]
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            f"{address}\t{name}",
        ]
    if pod.spec.hostAliases:
        lines.append("\n# Entries added by HostAliases.")
        lines += [f"{alias.ip}\t{' '.join(alias.hostnames)}" for alias in pod.spec.hostAliases]
    return "\n".join(lines) + "\n"


def _resolv_conf(pod: Pod, of_node: str) -> str:
    """The machine's resolver, or what dnsConfig says in place of and beside it."""
    config = pod.spec.dnsConfig
    base_text = "" if pod.spec.dnsPolicy == "None" else of_node
    if config is None:
        return base_text
    lines = [base_text.rstrip("\n")] if base_text.strip() else []
    lines += [f"nameserver {server}" for server in config.nameservers]
    if config.searches:
        lines.append(f"search {' '.join(config.searches)}")
    options = [o.name if o.value is None else f"{o.name}:{o.value}" for o in config.options]
    if options:
        lines.append(f"options {' '.join(options)}")
    return "\n".join(lines) + "\n"
