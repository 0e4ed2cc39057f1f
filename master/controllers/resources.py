"""The resources that controllers name."""

from __future__ import annotations

from common.api.resource import Resource
from common.api.scheme import SCHEME


def _resource(group: str, version: str, plural: str) -> Resource:
    found = SCHEME.resource(group, version, plural)
    assert found is not None, plural
    return found


PODS = _resource("", "v1", "pods")
NODES = _resource("", "v1", "nodes")
SECRETS = _resource("", "v1", "secrets")
NAMESPACES = _resource("", "v1", "namespaces")
CONFIG_MAPS = _resource("", "v1", "configmaps")
SERVICE_ACCOUNTS = _resource("", "v1", "serviceaccounts")
REPLICATION_CONTROLLERS = _resource("", "v1", "replicationcontrollers")
REPLICA_SETS = _resource("apps", "v1", "replicasets")
DEPLOYMENTS = _resource("apps", "v1", "deployments")
SERVICES = _resource("", "v1", "services")
ENDPOINTS = _resource("", "v1", "endpoints")
ENDPOINT_SLICES = _resource("discovery.k8s.io", "v1", "endpointslices")
