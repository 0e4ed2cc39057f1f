"""Every controller there is, made with what it needs from outside."""

from __future__ import annotations

from master.controllers.base import Controller
from master.controllers.csrsigning import CertificateSigningController, Sign
from master.controllers.deployment import DeploymentController
from master.controllers.garbagecollector import GarbageCollector
from master.controllers.namespace import NamespaceController
from master.controllers.nodelifecycle import NodeLifecycleController
from master.controllers.replicaset import ReplicaSetController
from master.controllers.replicationcontroller import ReplicationControllerController
from master.controllers.rootca import RootCaController
from master.controllers.serviceaccount import ServiceAccountController


def controllers(ca_pem: bytes, sign_node: Sign) -> list[Controller]:
    """All controllers; `ca_pem` is what pods check the API server with."""
    return [
        CertificateSigningController(sign_node),
        DeploymentController(),
        GarbageCollector(),
        NamespaceController(),
        NodeLifecycleController(),
        ReplicaSetController(),
        ReplicationControllerController(),
        RootCaController(ca_pem),
        ServiceAccountController(),
    ]
