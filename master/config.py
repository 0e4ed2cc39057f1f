"""The master's configuration: /etc/wherry/config.yaml, its drop-ins, and flags over them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from common.etcd import access
from common.runtime import config, flags, interfaces
from common.runtime.config import ConfigError
from common.runtime.interfaces import Interface
from common.runtime.values import Address, Cidr, Form, Port, cidr, duration, seconds_of
from master.controllers import registry

FILE = "/etc/wherry/config.yaml"
FORMER = Path("/var/lib/wherry/etcd")


def _controller(text: str) -> str:
    known = registry.names()
    return "" if text in known else f"there is no controller {text!r}, but {', '.join(known)}"


PodCidr = Annotated[str, Form(partial(cidr, prefix_max=24))]
"""Each node gets a /24 of it."""
Lifetime = Annotated[str, Form(partial(duration, least=60, most=365 * 86400))]
EtcdEndpoint = Annotated[str, Form(access.endpoint_problem)]
EtcdPrefix = Annotated[str, Form(access.prefix_problem)]
ControllerName = Annotated[str, Form(_controller)]


class MasterConfig(config.Config, kw_only=True, frozen=True, rename="kebab"):
    """What an operator can set; keys in YAML have hyphens."""

    advertise_address: Annotated[
        Address,
        Meta(
            description="where nodes and clients reach this master; default: the address that "
            "leads to other networks, or the only one there is"
        ),
    ] = ""
    bind_address: Annotated[Address, Meta(description="where it listens")] = "0.0.0.0"  # noqa: S104 (TLS applies)
    secure_port: Annotated[Port, Meta(description="HTTPS: the Kubernetes API")] = 6443
    node_port: Annotated[
        Port, Meta(description="gRPC with client certificates: nodes, and scripts that have one")
    ] = 6444
    script_port: Annotated[Port, Meta(description="gRPC with bearer tokens: scripts")] = 6445
    data_dir: Annotated[
        str, Meta(description="etcd's data, keys, and the admin's kubeconfig and token")
    ] = "/var/lib/wherry/master"
    cluster_cidr: Annotated[
        PodCidr, Meta(description="the addresses of pods, a /24 for each node")
    ] = "10.42.0.0/16"
    service_cidr: Annotated[
        Cidr, Meta(description="the addresses of services; the first one is the API's own")
    ] = "10.43.0.0/16"
    allow_external_ips: Annotated[
        bool, Meta(description="whether Services may take the traffic to any externalIPs")
    ] = False
    tls_san: Annotated[
        tuple[str, ...], Meta(description="more names and addresses in its certificate")
    ] = ()
    certificate_lifetime: Annotated[
        Lifetime,
        Meta(
            description="how long certificates are valid, of nodes and its own; they are renewed "
            "at two thirds"
        ),
    ] = "7d"
    disable_controllers: Annotated[
        tuple[ControllerName, ...], Meta(description="controllers that are not to run")
    ] = ()
    disable_scheduler: Annotated[bool, Meta(description="bind no pods")] = False
    scheduler_file: Annotated[
        str, Meta(description="a Python file with a scheduler of one's own: docs/own-scheduler.md")
    ] = ""
    scheduler_file_name: Annotated[
        str, Meta(description="the schedulerName of the pods that go through it")
    ] = "custom"
    scheduler_file_seconds: Annotated[
        float, Meta(gt=0, description="how long it may take for each pod")
    ] = 1.0
    etcd_client_port: Annotated[Port, Meta(description="of its own etcd, on loopback")] = 2379
    etcd_peer_port: Annotated[Port, Meta(description="of its own etcd, on loopback")] = 2380
    etcd_endpoints: Annotated[
        tuple[EtcdEndpoint, ...],
        Meta(description=f"an etcd to use instead of its own, such as {access.EXAMPLE}"),
    ] = ()
    etcd_cacert: Annotated[
        str, Meta(description="a file with the authority of its members' certificates")
    ] = ""
    etcd_cert: Annotated[str, Meta(description="a file with the certificate to show it")] = ""
    etcd_key: Annotated[str, Meta(description="a file with the key of that certificate")] = ""
    etcd_prefix: Annotated[
        EtcdPrefix, Meta(description="what all keys begin with in an etcd that is not its own")
    ] = access.DEFAULT_PREFIX
    log_format: Annotated[Literal["text", "json"], Meta(description="text or json")] = "text"

    @property
    def lifetime(self) -> timedelta:
        """How long certificates are valid."""
        return timedelta(seconds=seconds_of(self.certificate_lifetime))

    @property
    def api_service_address(self) -> str:
        """The address of the service `default/kubernetes`: the first one that services may have."""
        return str(IPv4Network(self.service_cidr)[1])

    @property
    def etcd(self) -> access.Access:
        """What it says of an etcd that is not the master's own."""
        return access.Access(
            endpoints=self.etcd_endpoints,
            cacert=self.etcd_cacert,
            cert=self.etcd_cert,
            key=self.etcd_key,
            prefix=self.etcd_prefix,
        )


def parse(arguments: list[str]) -> MasterConfig:
    """Flags over files over defaults; raises ConfigError that names what is wrong, and where."""
    made = flags.parse(
        MasterConfig,
        arguments,
        program="wherry-master",
        description="The control plane of Wherry.",
        file=FILE,
    )
    if IPv4Network(made.cluster_cidr).overlaps(IPv4Network(made.service_cidr)):
        raise ConfigError(
            f"cluster-cidr {made.cluster_cidr} and service-cidr {made.service_cidr} overlap"
        )
    for said in (*access.problems(made.etcd), *access.file_problems(made.etcd)):
        raise ConfigError(said)
    config.refuse_to_forget(FORMER, made.data_dir, FILE)
    if made.advertise_address:
        return made
    address = default_address(interfaces.routed_address(), interfaces.interfaces())
    return msgspec.structs.replace(made, advertise_address=address)


class NoAddress(Exception):
    """This machine has no address that others could reach, yet; the message says so."""


def default_address(routed: str, found: Sequence[Interface]) -> str:
    """The address that leads to other networks, or the only one there is.

    Raises ConfigError where there are several to choose from, NoAddress where there is none.
    """
    if routed:
        return routed
    choices = interfaces.reachable(found)
    if not choices:
        raise NoAddress("advertise-address is not set, and this machine has no address yet")
    if len(choices) > 1:
        named = ", ".join(f"{each.address} ({each.name})" for each in choices)
        raise ConfigError(f"advertise-address is not set, and there are several: {named}")
    return choices[0].address
