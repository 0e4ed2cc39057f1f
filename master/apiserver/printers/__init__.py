"""The columns of `kubectl get`: tables, and the cells that are computed rather than copied.

One file a group: pure functions from an object's plain values to cells. The columns themselves
stand in protos/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from master.apiserver.printers import apps, core, groups, rbac
from master.apiserver.printers.pods import pod

PRINTERS: dict[str, Callable[[dict[str, Any], datetime], Mapping[str, Any]]] = {
    "CertificateSigningRequest": groups.certificate_signing_request,
    "ClusterRoleBinding": rbac.binding,
    "ConfigMap": core.config_map,
    "ControllerRevision": apps.controller_revision,
    "DaemonSet": apps.daemon_set,
    "Deployment": apps.deployment,
    "EndpointSlice": groups.endpoint_slice,
    "Endpoints": core.endpoints,
    "Event": groups.event,
    "Node": core.node,
    "PersistentVolume": core.persistent_volume,
    "PersistentVolumeClaim": core.persistent_volume_claim,
    "Pod": pod,
    "PodTemplate": core.pod_template,
    "ReplicaSet": apps.replica_set,
    "ReplicationController": core.replication_controller,
    "ResourceQuota": core.resource_quota,
    "RoleBinding": rbac.binding,
    "Secret": core.secret,
    "Service": core.service,
    "StatefulSet": apps.stateful_set,
}
"""By kind: (object, now) -> cell by column name."""
