"""Every controller there is, made with what it needs from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from common.security.ca import Leaf
from master.controllers.base import Controller
from master.controllers.csrsigning import CertificateSigningController
from master.controllers.deployment import DeploymentController
from master.controllers.endpoints import EndpointsController
from master.controllers.endpointslice import EndpointSliceController
from master.controllers.endpointslicemirroring import EndpointSliceMirroringController
from master.controllers.garbagecollector import GarbageCollector
from master.controllers.kubeconfigs import KubeconfigController
from master.controllers.kubernetesservice import KubernetesServiceController
from master.controllers.namespace import NamespaceController
from master.controllers.nodelifecycle import NodeLifecycleController
from master.controllers.podgc import PodGarbageCollector
from master.controllers.replicaset import ReplicaSetController
from master.controllers.replicationcontroller import ReplicationControllerController
from master.controllers.rootca import RootCaController
from master.controllers.serviceaccount import ServiceAccountController
from master.controllers.signsoflife import SignsOfLife
from master.controllers.tainteviction import TaintEvictionController
from master.controllers.volumeprotection import VolumeProtectionController


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What controllers are told of the cluster."""

    ca_pem: Callable[[], bytes]
    """What pods check the API server with."""
    address: str
    """Where this master serves the API, for pods; with `port`."""
    port: int
    service_address: str
    """The cluster IP of the service that leads there."""


class Signer(Protocol):
    """The authority of client certificates. Both raise CertificateError."""

    def sign_node(self, request_pem: bytes, node: str) -> bytes:
        """A certificate for a node."""
        ...

    def sign_client(self, request_pem: bytes, leaf: Leaf) -> bytes:
        """A certificate that says what `leaf` says."""
        ...


def controllers(facts: ClusterFacts, signer: Signer, signs: SignsOfLife) -> list[Controller]:
    """All controllers, by name."""
    return [
        CertificateSigningController(signer.sign_node),
        DeploymentController(),
        EndpointsController(),
        EndpointSliceController(),
        EndpointSliceMirroringController(),
        GarbageCollector(),
        KubeconfigController(signer.sign_client),
        KubernetesServiceController(facts.address, facts.port, facts.service_address),
        NamespaceController(),
        NodeLifecycleController(signs),
        PodGarbageCollector(),
        ReplicaSetController(),
        ReplicationControllerController(),
        RootCaController(facts.ca_pem),
        ServiceAccountController(),
        TaintEvictionController(),
        VolumeProtectionController(),
    ]


def names() -> list[str]:
    """What the controllers are called where they are switched off."""
    nowhere = ClusterFacts(ca_pem=_unasked, address="", port=0, service_address="")
    signs = SignsOfLife(_unasked, (), _unasked)
    return [one.name for one in controllers(nowhere, _Nobody(), signs)]


class _Nobody:
    """A signer that signs nothing."""

    def sign_node(self, request_pem: bytes, node: str) -> NoReturn:
        _unasked()

    def sign_client(self, request_pem: bytes, leaf: Leaf) -> NoReturn:
        _unasked()


def _unasked(*_: object) -> NoReturn:
    raise AssertionError("only the names were wanted")
