"""The kubelet's configuration: /etc/wherry/kubelet.yaml, its drop-ins, and flags over them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.api import names
from common.runtime import config, flags
from common.runtime.config import ConfigError
from common.runtime.reasons import reason
from common.runtime.values import Address, Form, MasterUrl, Port
from node.kubelet.spec import sysctls

FILE = "/etc/wherry/kubelet.yaml"
FORMER = Path("/var/lib/wherry/node-pki")


def _node_name(text: str) -> str:
    problems = names.dns_subdomain(text)
    return f"{text!r}: {problems[0]}" if problems else ""


NodeName = Annotated[str, Form(_node_name)]


def _sysctls(text: str) -> str:
    problems = (sysctls.pattern_problem(one) for one in text.split(",") if text)
    return next(filter(None, problems), "")


Sysctls = Annotated[str, Form(_sysctls)]


class KubeletConfig(config.Config, kw_only=True, frozen=True, rename="kebab"):
    """What an operator can set; keys in YAML have hyphens."""

    master: Annotated[MasterUrl, Meta(description="https://HOST:6443")] = ""
    node_port: Annotated[
        Port,
        Meta(description="the master's --node-port; default: as it said when this node joined"),
    ] = 0
    token_file: Annotated[
        str, Meta(description="the join token, needed until the node has its certificate")
    ] = ""
    node_name: Annotated[
        NodeName, Meta(description="the name of its Node; default: the machine's")
    ] = ""
    node_ip: Annotated[
        Address, Meta(description="where other nodes reach it; default: what leads to the master")
    ] = ""
    capacity: Annotated[
        str, Meta(description="such as cpu=1,memory=4Gi, in place of what is measured")
    ] = ""
    podman_socket: Annotated[str, Meta(description="Podman's service")] = "/run/podman/podman.sock"
    data_dir: Annotated[str, Meta(description="its certificate, assigned pods, volumes")] = (
        "/var/lib/wherry/node"
    )
    run_dir: Annotated[str, Meta(description="sandboxes, Secrets")] = "/run/wherry"
    allowed_unsafe_sysctls: Annotated[
        Sysctls, Meta(description="what pods may set beside the safe ones: kernel.msg*,net.core.x")
    ] = ""
    log_dir: Annotated[str, Meta(description="the logs of containers")] = "/var/log/pods"
    log_format: Annotated[Literal["text", "json"], Meta(description="text or json")] = "text"


def parse(arguments: list[str]) -> KubeletConfig:
    """Flags over files over defaults; raises ConfigError that names what is wrong, and where."""
    made = flags.parse(
        KubeletConfig,
        arguments,
        program="wherry-kubelet",
        description="The node agent of Wherry.",
        file=FILE,
    )
    if not made.master:
        raise ConfigError("master is not set: --master https://HOST:6443")
    config.refuse_to_forget(FORMER, made.data_dir, FILE)
    return msgspec.structs.replace(
        made,
        node_name=made.node_name or socket.gethostname().lower(),
        node_ip=made.node_ip or own_address(made.master),
    )


class NoRoute(Exception):
    """Nothing leads to the master, yet; the message says so."""


def own_address(master: str) -> str:
    """The address of the interface that leads to the master. Raises NoRoute."""
    host = master.removeprefix("https://").rsplit(":", 1)[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError as error:
            raise NoRoute(
                f"node-ip is not set, and {host} cannot be reached: {reason(error)}"
            ) from error
        return str(probe.getsockname()[0])
