"""Namespaces: what each has, and how one goes."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.api import times
from common.api.types.core_v1 import (
    ConfigMap,
    Namespace,
    NamespaceSpec,
    Pod,
    ServiceAccount,
)
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Create, Delete, Update
from master import controllers as room
from master.controllers.namespaces.namespace import NamespaceController
from master.controllers.namespaces.rootca import RootCaController
from master.controllers.namespaces.serviceaccount import ServiceAccountController
from master.controllers.nodes.heartbeats import NodeHeartbeats
from master.controllers.registry import ClusterFacts, controllers
from tests.unit.controllers.sim import Cluster

CONTROLLER = ("name", "watches", "keys", "reconcile")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def namespace(cluster: Cluster, *, deleting: bool = False) -> None:
    stamp = times.to_time(cluster.now) if deleting else None
    cluster.put(
        Namespace(
            metadata=ObjectMeta(name="x", deletionTimestamp=stamp),
            spec=NamespaceSpec(finalizers=("kubernetes",)),
        )
    )


def test_a_default_service_account(cluster: Cluster) -> None:
    controller = ServiceAccountController()
    namespace(cluster)
    assert isinstance(cluster.reconcile(controller, "x")[0], Create)
    assert cluster.get(ServiceAccount, "default", "x").metadata.namespace == "x"
    assert cluster.reconcile(controller, "x") == []


def test_nothing_is_made_in_a_namespace_that_goes(cluster: Cluster) -> None:
    namespace(cluster, deleting=True)
    assert cluster.reconcile(ServiceAccountController(), "x") == []
    assert cluster.reconcile(RootCaController(lambda: b"pem"), "x") == []
    assert cluster.reconcile(ServiceAccountController(), "unknown") == []


def test_the_root_certificate_is_made_and_kept(cluster: Cluster) -> None:
    controller = RootCaController(lambda: b"pem")
    namespace(cluster)
    cluster.reconcile(controller, "x")
    found = cluster.get(ConfigMap, "kube-root-ca.crt", "x")
    assert found.data == {"ca.crt": "pem"}
    found.data = {"ca.crt": "other"}
    cluster.put(found)
    assert isinstance(cluster.reconcile(controller, "x")[0], Update)
    assert cluster.get(ConfigMap, "kube-root-ca.crt", "x").data == {"ca.crt": "pem"}
    assert cluster.reconcile(controller, "x") == []


def test_a_namespace_is_emptied_and_then_finalized(cluster: Cluster) -> None:
    controller = NamespaceController()
    namespace(cluster, deleting=True)
    cluster.put(Pod(metadata=ObjectMeta(name="p", namespace="x", finalizers=("hold",))))
    cluster.put(ConfigMap(metadata=ObjectMeta(name="c", namespace="x")))
    cluster.put(ConfigMap(metadata=ObjectMeta(name="c", namespace="y")))
    commands = cluster.reconcile(controller, "x")
    assert [c.name for c in commands if isinstance(c, Delete)] == ["p"], "pods go first"
    assert said(cluster)["NamespaceDeletionContentFailure"] == ("True", "ContentDeletionFailed")
    cluster.reconcile(controller, "x")
    assert said(cluster)["NamespaceFinalizersRemaining"] == ("True", "SomeFinalizersRemain")
    assert cluster.reconcile(controller, "x") == [], "the pod is still on its way out"
    cluster.remove(Pod, "p", "x")
    commands = cluster.reconcile(controller, "x")
    assert [c.name for c in commands if isinstance(c, Delete)] == ["c"]
    assert said(cluster)["NamespaceDeletionContentFailure"] == ("False", "ContentDeleted")
    (update,) = cluster.reconcile(controller, "x")
    assert isinstance(update, Update)
    assert update.subresource == "finalize"
    assert update.body.spec.finalizers == ()
    assert [found.metadata.namespace for found in cluster.list(ConfigMap)] == ["y"]
    assert cluster.reconcile(controller, "x") == []


def said(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """The conditions of the namespace `x`."""
    found = cluster.get(Namespace, "x", "").status.conditions
    return {condition.type: (condition.status, condition.reason) for condition in found}


def test_a_namespace_of_many_pods_is_not_written_for_each(cluster: Cluster) -> None:
    controller = NamespaceController()
    namespace(cluster, deleting=True)
    for number in range(20):
        meta = ObjectMeta(name=f"p{number}", namespace="x", finalizers=("hold",))
        cluster.put(Pod(metadata=meta))
    written = 0
    for number in range(20):
        commands = cluster.reconcile(controller, "x")
        written += sum(isinstance(command, Update) for command in commands)
        cluster.remove(Pod, f"p{number}", "x")
    assert written == 2


def test_what_happens_in_a_namespace_that_goes_wakes_it(cluster: Cluster) -> None:
    controller = NamespaceController()
    pods = cluster.listers["pods"].resource
    pod = cluster.put(Pod(metadata=ObjectMeta(name="p", namespace="x")))
    namespace(cluster)
    assert list(controller.keys(cluster.view, pods, pod, None)) == []
    namespace(cluster, deleting=True)
    assert list(controller.keys(cluster.view, pods, pod, None)) == ["x"]


SIGNER: Any = SimpleNamespace(sign_node=None, sign_client=None)


def sign_token(secret: str, namespace: str, account: str, uid: str) -> str:
    raise AssertionError("nothing is signed here")


def test_every_controller_has_a_name_of_its_own_and_is_registered() -> None:
    facts = ClusterFacts(lambda: b"pem", "10.0.0.1", 6443, "10.43.0.1")
    made = controllers(facts, SIGNER, sign_token, NodeHeartbeats(lambda node: 0.0, (), lambda: 0.0))
    names = [controller.name for controller in made]
    assert len(set(names)) == len(names)
    written = {
        found
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")
        for found in vars(importlib.import_module(module.name)).values()
        if isinstance(found, type) and all(hasattr(found, member) for member in CONTROLLER)
    }
    assert {type(controller) for controller in made} == written


def test_controllers_do_not_import_each_other() -> None:
    facts = ClusterFacts(lambda: b"pem", "10.0.0.1", 6443, "10.43.0.1")
    signs = NodeHeartbeats(lambda node: 0.0, (), lambda: 0.0)
    made = controllers(facts, SIGNER, sign_token, signs)
    modules = {type(controller).__module__ for controller in made}
    for module in modules:
        source = Path(sys.modules[module].__file__ or "").read_text()
        found = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        assert found.isdisjoint(modules), module
