"""The kubelet's configuration: /etc/wherry/kubelet.yaml, its drop-ins, and flags over them."""

from __future__ import annotations

import argparse
import socket
from typing import Literal

import msgspec

from common.runtime import config
from common.runtime.config import ConfigError


class KubeletConfig(config.Config, kw_only=True, frozen=True, rename="kebab"):
    """What an operator can set; keys in YAML have hyphens."""

    master: str = ""
    """https://HOST:6443; the node port is the next one."""
    token_file: str = ""
    """The join token, needed until the node has its certificate."""
    node_name: str = ""
    node_ip: str = ""
    capacity: str = ""
    """`cpu=1,memory=4Gi` in place of what is measured."""
    podman_socket: str = "/run/podman/podman.sock"
    data_dir: str = "/var/lib/wherry"
    run_dir: str = "/run/wherry"
    log_dir: str = "/var/log/pods"
    log_format: Literal["text", "json"] = "text"


def parse(arguments: list[str]) -> KubeletConfig:
    """Flags over files over defaults; raises ConfigError that names file, line and key."""
    parser = argparse.ArgumentParser(prog="wherry-kubelet", description="The node agent of Wherry.")
    parser.add_argument("--config", default="/etc/wherry/kubelet.yaml", help="configuration file")
    made = config.parse(parser, KubeletConfig, arguments)
    if not made.master:
        raise ConfigError("master is not set: --master https://HOST:6443")
    return msgspec.structs.replace(
        made,
        node_name=made.node_name or socket.gethostname().lower(),
        node_ip=made.node_ip or own_address(made.master),
    )


def own_address(master: str) -> str:
    """The address of the interface that leads to the master."""
    host = master.removeprefix("https://").rsplit(":", 1)[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError as error:
            raise ConfigError(f"node-ip is not set, and {host} cannot be reached: {error}") from (
                error
            )
        return str(probe.getsockname()[0])
