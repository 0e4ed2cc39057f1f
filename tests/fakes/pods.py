"""Pods, containers and sandboxes as tests need them: short to write, complete as the API's."""

from collections.abc import Sequence
from typing import Any

import msgspec

from common.api.types.core_v1 import Pod
from node.kubelet.pod.memory import Observed
from node.kubelet.spec.env import HostFacts
from node.runtime.base import ContainerStatus, SandboxStatus, State

UID = "6a5e7c1e-0000-4000-8000-000000000001"
IMAGE = "localhost/demo:1"
HOST = HostFacts(address="10.0.0.11", cpu_milli=2000, memory_bytes=4 << 30, disk_bytes=100 << 30)


def container(name: str = "app", **fields: Any) -> dict[str, Any]:
    """A container with what the API server sets by default."""
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "resources": {},
        **fields,
    }


def pod(
    *,
    containers: Sequence[dict[str, Any]] | None = None,
    metadata: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> Pod:
    """A pod bound to node1, with what the API server sets by default."""
    plain = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "uid": UID, **(metadata or {})},
        "spec": {
            "containers": [container()] if containers is None else list(containers),
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "automountServiceAccountToken": False,
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "nodeName": "node1",
            "priority": 0,
            "preemptionPolicy": "PreemptLowerPriority",
            "enableServiceLinks": True,
            **spec,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort", **(status or {})},
    }
    return msgspec.convert(plain, Pod)


def ran(
    name: str = "app",
    attempt: int = 0,
    *,
    state: State = "running",
    started_at: str = "2030-01-01T00:00:00Z",
    finished_at: str = "",
    exit_code: int = 0,
    **fields: Any,
) -> ContainerStatus:
    """An attempt of a container, as a runtime answers it."""
    return ContainerStatus(
        id=f"{name}-{attempt}",
        pod_uid=UID,
        pod_namespace="default",
        pod_name="web",
        name=name,
        attempt=attempt,
        state=state,
        started_at=started_at,
        finished_at=finished_at,
        exit_code=exit_code,
        **fields,
    )


def sandbox(address: str = "10.42.1.2") -> SandboxStatus:
    """A sandbox that is there."""
    directory = f"/run/wherry/sandboxes/{UID}"
    return SandboxStatus(
        pod_uid=UID,
        pod_namespace="default",
        pod_name="web",
        address=address,
        netns_path=f"{directory}/net" if address else "",
        ipcns_path=f"{directory}/ipc",
        utsns_path=f"{directory}/uts" if address else "",
        directory=directory,
        ready=True,
    )


def observed(*statuses: ContainerStatus, with_sandbox: bool = True) -> Observed:
    """What is there of a pod."""
    found = Observed(sandbox=sandbox() if with_sandbox else None)
    for status in statuses:
        found.put(status)
    return found
