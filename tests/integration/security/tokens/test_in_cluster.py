"""A pod that asks the master by what is mounted into it, with Kubernetes' own Python client."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, ApiException, Configuration, CoreV1Api
from kubernetes.config import incluster_config as in_cluster

from common.api.codec import json as codec
from common.api.types.core_v1 import ConfigMap, Pod
from node.kubelet.spec.env import Config
from node.kubelet.volumes import tokens
from node.kubelet.volumes.volumes import Volumes
from tests.fakes.pods import HOST
from tests.integration.security.test_answers import until
from tests.integration.security.tokens.test_account_tokens import (
    DEFAULT,
    account,
    created,
    delete,
    pod,
)
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
DIES_WITHIN_SECONDS = 10.0
TOKEN, AUTHORITY = (
    Path(name) for name in (in_cluster.SERVICE_TOKEN_FILENAME, in_cluster.SERVICE_CERT_FILENAME)
)


def configuration(master: RunningMaster, one: Pod) -> Config:
    """What a node has from the master for a pod's volumes."""
    admin, authority = master.admin(), f"{DEFAULT}/configmaps/kube-root-ca.crt"
    until(lambda: admin.request("GET", authority)[0] == 200)
    config_map = codec.decode(admin.request("GET", authority)[1], ConfigMap)
    requests = f"{DEFAULT}/serviceaccounts/{one.spec.serviceAccountName}/token"
    found = {}
    for key in tokens.wanted(one):
        asked = json.loads(codec.encode(tokens.request(one, key)))
        found[key] = created(master, requests, asked)["status"]["token"]
    return Config({config_map.metadata.name: config_map}, tokens=found)


@pytest.fixture
def mounted(master: RunningMaster, tmp_path: Path) -> Iterator[Path]:
    """Where a kubelet mounts into the container of a new pod what clients look for there."""
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("mounting needs root")
    account(master, "caller")
    one = codec.decode(json.dumps(created(master, f"{DEFAULT}/pods", pod("caller"))).encode(), Pod)
    [mount] = [
        mount
        for mount in one.spec.containers[0].volumeMounts
        if mount.mountPath == str(TOKEN.parent)
    ]
    [volume] = [volume for volume in one.spec.volumes if volume.name == mount.name]
    volumes = Volumes(tmp_path / "pods")
    volumes.make(one, configuration(master, one), HOST, "")
    yield Path(volumes.path(one.metadata.uid, volume))
    assert volumes.remove(one.metadata.uid)


def listed(client: CoreV1Api, namespace: str) -> Any:
    """The names of a namespace's pods, or the status of a refusal."""
    try:
        return [one.metadata.name for one in client.list_namespaced_pod(namespace).items]
    except ApiException as error:
        return error.status


def test_a_pod_asks_by_what_is_mounted_into_it(master: RunningMaster, mounted: Path) -> None:
    """It sees the pods of its namespace and of no other, until its account is deleted."""
    address = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(master.port)}
    loaded = Configuration()
    in_cluster.InClusterConfigLoader(
        token_filename=mounted / TOKEN.name,
        cert_filename=mounted / AUTHORITY.name,
        environ=address,
    ).load_and_set(loaded)
    with ApiClient(loaded) as client:
        core, own = CoreV1Api(client), (mounted / "namespace").read_text()
        assert listed(core, own) == ["caller"]
        assert listed(core, "kube-system") == 403
        delete(master, f"{DEFAULT}/serviceaccounts/caller")
        until(lambda: listed(core, own) == 401, DIES_WITHIN_SECONDS)
