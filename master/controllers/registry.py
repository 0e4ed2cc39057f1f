"""Every controller there is, made with what it needs from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from common.security.ca import Leaf
from master.controllers.accounttokens import AccountTokenController, SignToken
from master.controllers.base import Controller
from master.controllers.certificates.csrsigning import CertificateSigningController
from master.controllers.certificates.kubeconfigs import KubeconfigController
from master.controllers.garbagecollector import GarbageCollector
from master.controllers.namespaces.namespace import NamespaceController
from master.controllers.namespaces.rootca import RootCaController
from master.controllers.namespaces.serviceaccount import ServiceAccountController
from master.controllers.nodes.heartbeats import NodeHeartbeats
from master.controllers.nodes.nodelifecycle import NodeLifecycleController
from master.controllers.nodes.podgc import PodGarbageCollector
from master.controllers.nodes.tainteviction import TaintEvictionController
from master.controllers.rbac.clusterroleaggregation import ClusterRoleAggregationController
from master.controllers.services.endpoints import EndpointsController
from master.controllers.services.endpointslice import EndpointSliceController
from master.controllers.services.endpointslicemirroring import EndpointSliceMirroringController
from master.controllers.services.kubernetesservice import KubernetesServiceController
from master.controllers.volumeprotection import VolumeProtectionController
from master.controllers.workloads.deployment import DeploymentController
from master.controllers.workloads.replicaset import ReplicaSetController
from master.controllers.workloads.replicationcontroller import ReplicationControllerController


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


def controllers(
    facts: ClusterFacts, signer: Signer, sign_token: SignToken, signs: NodeHeartbeats
) -> list[Controller]:
    """All controllers, by name."""
    return [
        CertificateSigningController(signer.sign_node),
        ClusterRoleAggregationController(),
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
        AccountTokenController(facts.ca_pem, sign_token),
        TaintEvictionController(),
        VolumeProtectionController(),
    ]


def names() -> list[str]:
    """What the controllers are called where they are switched off."""
    nowhere = ClusterFacts(ca_pem=_not_needed, address="", port=0, service_address="")
    signs = NodeHeartbeats(_not_needed, (), _not_needed)
    return [one.name for one in controllers(nowhere, _Nobody(), _not_needed, signs)]


class _Nobody:
    """A signer that signs nothing."""

    def sign_node(self, request_pem: bytes, node: str) -> NoReturn:
        _not_needed()

    def sign_client(self, request_pem: bytes, leaf: Leaf) -> NoReturn:
        _not_needed()


def _not_needed(*_: object) -> NoReturn:
    raise AssertionError("only the names were wanted")
