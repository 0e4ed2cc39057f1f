"""The resources that controllers name."""

from __future__ import annotations

from common.api.scheme import SCHEME

PODS = SCHEME.require("", "v1", "pods")
NODES = SCHEME.require("", "v1", "nodes")
SECRETS = SCHEME.require("", "v1", "secrets")
NAMESPACES = SCHEME.require("", "v1", "namespaces")
CONFIG_MAPS = SCHEME.require("", "v1", "configmaps")
SERVICE_ACCOUNTS = SCHEME.require("", "v1", "serviceaccounts")
REPLICATION_CONTROLLERS = SCHEME.require("", "v1", "replicationcontrollers")
REPLICA_SETS = SCHEME.require("apps", "v1", "replicasets")
DEPLOYMENTS = SCHEME.require("apps", "v1", "deployments")
SERVICES = SCHEME.require("", "v1", "services")
ENDPOINTS = SCHEME.require("", "v1", "endpoints")
CLUSTER_ROLES = SCHEME.require("rbac.authorization.k8s.io", "v1", "clusterroles")
ENDPOINT_SLICES = SCHEME.require("discovery.k8s.io", "v1", "endpointslices")
