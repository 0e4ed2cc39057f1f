"""The strategies of the kinds that have rules of their own."""

from __future__ import annotations

from common.api.scheme import Scheme
from common.runtime.clock import Clock
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.apps.controllerrevision import ControllerRevisionStrategy
from master.apiserver.resources.apps.daemonset import DaemonSetStrategy
from master.apiserver.resources.apps.deployment import DeploymentStrategy
from master.apiserver.resources.apps.replicaset import ReplicaSetStrategy
from master.apiserver.resources.apps.statefulset import StatefulSetStrategy
from master.apiserver.resources.certificates.certificatesigningrequest import (
    CertificateSigningRequestStrategy,
)
from master.apiserver.resources.coordination.lease import LeaseStrategy
from master.apiserver.resources.core.configmap import ConfigMapStrategy
from master.apiserver.resources.core.event import EventStrategy
from master.apiserver.resources.core.limitrange import LimitRangeStrategy
from master.apiserver.resources.core.namespace.namespace import NamespaceStrategy
from master.apiserver.resources.core.node.node import NodeStrategy
from master.apiserver.resources.core.persistentvolume import (
    PersistentVolumeClaimStrategy,
    PersistentVolumeStrategy,
)
from master.apiserver.resources.core.pod.pod import PodStrategy
from master.apiserver.resources.core.pod.podtemplate import PodTemplateStrategy
from master.apiserver.resources.core.replicationcontroller import ReplicationControllerStrategy
from master.apiserver.resources.core.resourcequota import ResourceQuotaStrategy
from master.apiserver.resources.core.secret import SecretStrategy
from master.apiserver.resources.core.service.endpoints import EndpointsStrategy
from master.apiserver.resources.core.service.service import ServiceStrategy
from master.apiserver.resources.core.serviceaccount import ServiceAccountStrategy
from master.apiserver.resources.discovery.endpointslice import EndpointSliceStrategy
from master.apiserver.resources.rbac.bindings import BindingStrategy
from master.apiserver.resources.rbac.roles import ClusterRoleStrategy, RoleStrategy


def strategies(
    scheme: Scheme, *, cluster_cidr: str, service_cidr: str, clock: Clock
) -> dict[str, Strategy]:
    """Strategies by group resource (`deployments.apps`); other kinds need none of their own."""
    core: dict[str, type[Strategy]] = {
        "configmaps": ConfigMapStrategy,
        "events": EventStrategy,
        "namespaces": NamespaceStrategy,
        "pods": PodStrategy,
        "replicationcontrollers": ReplicationControllerStrategy,
        "secrets": SecretStrategy,
        "endpoints": EndpointsStrategy,
        "limitranges": LimitRangeStrategy,
        "persistentvolumeclaims": PersistentVolumeClaimStrategy,
        "podtemplates": PodTemplateStrategy,
        "resourcequotas": ResourceQuotaStrategy,
        "serviceaccounts": ServiceAccountStrategy,
    }
    apps: dict[str, type[Strategy]] = {
        "controllerrevisions": ControllerRevisionStrategy,
        "daemonsets": DaemonSetStrategy,
        "deployments": DeploymentStrategy,
        "replicasets": ReplicaSetStrategy,
        "statefulsets": StatefulSetStrategy,
    }
    rbac: dict[str, type[Strategy]] = {
        "clusterrolebindings": BindingStrategy,
        "clusterroles": ClusterRoleStrategy,
        "rolebindings": BindingStrategy,
        "roles": RoleStrategy,
    }
    found = [cls(scheme.require("", "v1", plural)) for plural, cls in core.items()]
    found += [cls(scheme.require("apps", "v1", plural)) for plural, cls in apps.items()]
    found.append(LeaseStrategy(scheme.require("coordination.k8s.io", "v1", "leases")))
    volumes = scheme.require("", "v1", "persistentvolumes")
    found.append(PersistentVolumeStrategy(volumes, clock=clock))
    nodes = scheme.require("", "v1", "nodes")
    found.append(
        NodeStrategy(nodes, cluster_cidr=cluster_cidr, service_cidr=service_cidr, clock=clock)
    )
    services = scheme.require("", "v1", "services")
    found.append(ServiceStrategy(services, service_cidr=service_cidr))
    slices = scheme.require("discovery.k8s.io", "v1", "endpointslices")
    found.append(EndpointSliceStrategy(slices))
    found += [
        cls(scheme.require("rbac.authorization.k8s.io", "v1", plural))
        for plural, cls in rbac.items()
    ]
    requests = scheme.require("certificates.k8s.io", "v1", "certificatesigningrequests")
    found.append(CertificateSigningRequestStrategy(requests, clock=clock))
    return {strategy.resource.group_resource: strategy for strategy in found}
