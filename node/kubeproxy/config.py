"""kube-proxy's configuration: /etc/wherry/kube-proxy.yaml, its drop-ins, and flags over them."""

from __future__ import annotations

import socket
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.runtime import config, flags
from common.runtime.config import ConfigError
from common.runtime.values import Address, Cidr, MasterUrl, Port

FILE = "/etc/wherry/kube-proxy.yaml"


class KubeProxyConfig(config.Config, kw_only=True, frozen=True, rename="kebab"):
    """What an operator can set; keys in YAML have hyphens."""

    master: Annotated[MasterUrl, Meta(description="https://HOST:6443")] = ""
    node_port: Annotated[
        Port,
        Meta(description="the master's --node-port; default: as it said when this node joined"),
    ] = 0
    node_name: Annotated[str, Meta(description="the kubelet's; default: the machine's")] = ""
    node_ip: Annotated[Address, Meta(description="the kubelet's")] = ""
    cluster_cidr: Annotated[
        Cidr,
        Meta(
            description="the addresses of pods; who comes from elsewhere is masqueraded; "
            "default: what the master has told the kubelet"
        ),
    ] = ""
    service_cidr: Annotated[
        Cidr,
        Meta(
            description="the addresses of services; those of no service refuse at once; "
            "default: what the master has told the kubelet"
        ),
    ] = ""
    data_dir: Annotated[str, Meta(description="where the kubelet keeps the node's certificate")] = (
        "/var/lib/wherry/node"
    )
    run_dir: Annotated[str, Meta(description="the socket of `wherry proxy`")] = "/run/wherry"
    log_format: Annotated[Literal["text", "json"], Meta(description="text or json")] = "text"


def parse(arguments: list[str]) -> KubeProxyConfig:
    """Flags over files over defaults; raises ConfigError that names what is wrong, and where."""
    made = flags.parse(
        KubeProxyConfig,
        arguments,
        program="wherry-kube-proxy",
        description="Leads connections to services to their pods.",
        file=FILE,
    )
    if not made.master:
        raise ConfigError("master is not set: --master https://HOST:6443")
    return msgspec.structs.replace(made, node_name=made.node_name or socket.gethostname().lower())
