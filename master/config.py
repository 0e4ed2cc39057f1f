"""The master's configuration: /etc/wherry/config.yaml, its drop-ins, and flags over them."""

from __future__ import annotations

import argparse
import socket
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from common.runtime import config


class MasterConfig(config.Config, kw_only=True, frozen=True, rename="kebab"):
    """What an operator can set; keys in YAML have hyphens."""

    advertise_address: str = ""
    """The address that nodes and clients reach this master by; the host's own when empty."""
    bind_address: str = "0.0.0.0"  # noqa: S104 (a server's default; TLS and authentication apply)
    secure_port: int = 6443
    node_port: int = 6444
    """gRPC with client certificates: nodes, and scripts that have one."""
    script_port: int = 6445
    """gRPC with bearer tokens: scripts."""
    data_dir: str = "/var/lib/wherry"
    config_dir: str = "/etc/wherry"
    cluster_cidr: str = "10.42.0.0/16"
    """The addresses of pods."""
    service_cidr: str = "10.43.0.0/16"
    """The addresses of services; the first one is the API's own."""
    tls_san: tuple[str, ...] = ()
    disable_controllers: tuple[str, ...] = ()
    disable_scheduler: bool = False
    scheduler_file: str = ""
    """A Python file with the user's own scheduler (docs/own-scheduler.md); none when empty."""
    scheduler_file_name: str = "custom"
    """The schedulerName of the pods that go through it."""
    scheduler_file_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """How long it may take for each pod."""
    etcd_client_port: int = 2379
    etcd_peer_port: int = 2380
    log_format: Literal["text", "json"] = "text"

    @property
    def api_service_address(self) -> str:
        """The address of the service `default/kubernetes`: the first one that services may have."""
        return str(IPv4Network(self.service_cidr)[1])


def parse(arguments: list[str]) -> MasterConfig:
    """Flags over files over defaults; raises config.ConfigError that names file, line and key."""
    parser = argparse.ArgumentParser(
        prog="wherry-master", description="The control plane of Wherry."
    )
    parser.add_argument("--config", default="/etc/wherry/config.yaml", help="configuration file")
    for field in msgspec.structs.fields(MasterConfig):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action="store_const", const=True)
        elif field.type is int:
            parser.add_argument(flag, type=int)
        elif field.name == "scheduler_file_seconds":
            parser.add_argument(flag, type=_seconds)
        elif field.name in ("tls_san", "disable_controllers"):
            parser.add_argument(flag, type=_words, metavar="A,B")
        else:
            parser.add_argument(flag)
    found = vars(parser.parse_args(arguments))
    made = config.load(Path(found.pop("config")), MasterConfig)
    given = {name: value for name, value in found.items() if value is not None}
    given.setdefault("advertise_address", made.advertise_address or default_address())
    return msgspec.structs.replace(made, **given)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _seconds(text: str) -> float:
    if not float(text) > 0:
        raise ValueError
    return float(text)


def default_address() -> str:
    """The address of the interface that reaches other networks; loopback when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
