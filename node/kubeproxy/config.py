"""kube-proxy's configuration: /etc/wherry/kube-proxy.yaml, its drop-ins, and flags over them."""

from __future__ import annotations

import argparse
import socket
from typing import Literal

import msgspec

from common.runtime import config
from common.runtime.config import ConfigError


class KubeProxyConfig(config.Config, kw_only=True, frozen=True, rename="kebab"):
    """What an operator can set; keys in YAML have hyphens."""

    master: str = ""
    """https://HOST:6443; services are watched on the next port."""
    node_name: str = ""
    node_ip: str = ""
    cluster_cidr: str = "10.42.0.0/16"
    """The addresses of pods; who comes from elsewhere is masqueraded."""
    service_cidr: str = "10.43.0.0/16"
    """The addresses of services; what no service has there is refused at once."""
    data_dir: str = "/var/lib/wherry"
    """Where the kubelet keeps the node's certificate."""
    run_dir: str = "/run/wherry"
    log_format: Literal["text", "json"] = "text"


def parse(arguments: list[str]) -> KubeProxyConfig:
    """Flags over files over defaults; raises ConfigError that names file, line and key."""
    parser = argparse.ArgumentParser(
        prog="wherry-kube-proxy", description="Leads connections to services to their pods."
    )
    parser.add_argument("--config", default="/etc/wherry/kube-proxy.yaml", help="configuration")
    made = config.parse(parser, KubeProxyConfig, arguments)
    if not made.master:
        raise ConfigError("master is not set: --master https://HOST:6443")
    return msgspec.structs.replace(made, node_name=made.node_name or socket.gethostname().lower())
