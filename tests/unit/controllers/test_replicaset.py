"""ReplicaSets: pods and world in, commands out."""

from __future__ import annotations

import pytest

from common.api.types.apps_v1 import ReplicaSet, ReplicaSetSpec
from common.api.types.core_v1 import (
    Container,
    ContainerState,
    ContainerStateTerminated,
    ContainerStatus,
    Pod,
    PodSpec,
    PodTemplateSpec,
    ReplicationController,
    ReplicationControllerSpec,
)
from common.api.types.meta_v1 import LabelSelector, ObjectMeta
from common.client.commands import Create, Delete, Event, Patch, Requeue, Update
from master.controllers.base import Failure
from master.controllers.workloads.replicas import FAILURES
from master.controllers.workloads.replicaset import ReplicaSetController
from master.controllers.workloads.replicationcontroller import ReplicationControllerController
from tests.unit.controllers.sim import Cluster

RS = ReplicaSetController()
KEY = "default/web"
LABELS = {"app": "web"}


def template() -> PodTemplateSpec:
    containers = (Container(name="c", image="i"),)
    return PodTemplateSpec(
        metadata=ObjectMeta(labels=dict(LABELS)), spec=PodSpec(containers=containers)
    )


def replica_set(replicas: int = 3, **spec: int) -> ReplicaSet:
    return ReplicaSet(
        metadata=ObjectMeta(name="web", namespace="default", generation=1),
        spec=ReplicaSetSpec(
            replicas=replicas,
            selector=LabelSelector(matchLabels=LABELS),
            template=template(),
            **spec,
        ),
    )


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def of(commands: list, kind: type) -> list:
    return [command for command in commands if isinstance(command, kind)]


def test_creates_the_missing_pods_and_tells_it(cluster: Cluster) -> None:
    cluster.put(replica_set(3))
    commands = cluster.reconcile(RS, KEY)
    assert len(of(commands, Create)) == 3
    pods = cluster.list(Pod)
    owner = pods[0].metadata.ownerReferences[0]
    assert (owner.kind, owner.name, owner.controller, owner.blockOwnerDeletion) == (
        "ReplicaSet",
        "web",
        True,
        True,
    )
    assert pods[0].metadata.labels == LABELS
    messages = {event.message for event in cluster.events}
    assert messages == {f"Created pod: {pod.metadata.name}" for pod in pods}
    assert {event.reason for event in cluster.events} == {"SuccessfulCreate"}


def test_comes_to_rest_with_a_true_status(cluster: Cluster) -> None:
    cluster.put(replica_set(3))
    cluster.settle(RS)
    cluster.all_ready()
    cluster.settle(RS)
    status = cluster.get(ReplicaSet, "web").status
    assert (status.replicas, status.fullyLabeledReplicas) == (3, 3)
    assert (status.readyReplicas, status.availableReplicas) == (3, 3)
    assert status.observedGeneration == 1
    assert cluster.reconcile(RS, KEY) == []


def test_adopts_a_matching_orphan_and_makes_only_the_rest(cluster: Cluster) -> None:
    owner = cluster.put(replica_set(2))
    cluster.put(Pod(metadata=ObjectMeta(name="orphan", namespace="default", labels=LABELS)))
    commands = cluster.reconcile(RS, KEY)
    assert len(of(commands, Create)) == 1
    assert of(commands, Patch)[0].name == "orphan"
    adopted = cluster.get(Pod, "orphan").metadata.ownerReferences
    assert [(o.uid, o.controller) for o in adopted] == [(owner.uid, True)]


def test_releases_a_pod_whose_labels_changed_and_replaces_it(cluster: Cluster) -> None:
    cluster.put(replica_set(1))
    cluster.settle(RS)
    (pod,) = cluster.list(Pod)
    pod.metadata.labels = {"app": "debug"}
    cluster.put(pod)
    cluster.settle(RS)
    owners = {p.metadata.name: p.metadata.ownerReferences for p in cluster.list(Pod)}
    assert owners.pop(pod.metadata.name) == ()
    assert len(owners) == 1


def test_leaves_pods_of_another_controller_alone(cluster: Cluster) -> None:
    cluster.put(replica_set(1))
    cluster.settle(RS)
    other = replica_set(1)
    other.metadata.name = "zweb"
    cluster.put(other)
    cluster.settle(RS)
    managers = sorted(p.metadata.ownerReferences[0].name for p in cluster.list(Pod))
    assert managers == ["web", "zweb"]


def test_deletes_the_surplus_in_kubernetes_order(cluster: Cluster) -> None:
    cluster.put(replica_set(4))
    cluster.settle(RS)
    first, second, third, fourth = cluster.list(Pod)
    cluster.make_ready(first, "n1")
    cluster.make_ready(second, "n2")
    third.metadata.annotations["controller.kubernetes.io/pod-deletion-cost"] = "-5"
    cluster.make_ready(third, "n3")
    owner = cluster.get(ReplicaSet, "web")
    owner.spec.replicas = 2
    cluster.put(owner)
    commands = cluster.reconcile(RS, KEY)
    gone = [command.name for command in of(commands, Delete)]
    assert gone == [fourth.metadata.name, third.metadata.name]
    assert of(commands, Delete)[0].uid == fourth.metadata.uid
    assert cluster.events[-1].message == f"Deleted pod: {third.metadata.name}"


def test_prefers_the_crowded_node(cluster: Cluster) -> None:
    cluster.put(replica_set(3))
    cluster.settle(RS)
    pods = cluster.list(Pod)
    for pod, node in zip(pods, ("n1", "n2", "n2"), strict=True):
        cluster.make_ready(pod, node)
    owner = cluster.get(ReplicaSet, "web")
    owner.spec.replicas = 2
    cluster.put(owner)
    (gone,) = of(cluster.reconcile(RS, KEY), Delete)
    assert gone.name != pods[0].metadata.name


def test_min_ready_seconds_asks_to_come_back(cluster: Cluster) -> None:
    cluster.put(replica_set(1, minReadySeconds=10))
    cluster.settle(RS)
    cluster.all_ready()
    commands = cluster.reconcile(RS, KEY)
    assert of(commands, Requeue)[0].after_seconds == 10
    status = cluster.get(ReplicaSet, "web").status
    assert (status.readyReplicas, status.availableReplicas) == (1, 0)
    cluster.advance(10)
    cluster.settle(RS)
    assert cluster.get(ReplicaSet, "web").status.availableReplicas == 1


def test_a_refused_create_is_told_and_then_forgotten(cluster: Cluster) -> None:
    cluster.put(replica_set(1))
    cluster.failures[KEY] = Failure("create", "exceeded quota: pods=1")
    commands = cluster.reconcile(RS, KEY)
    assert isinstance(commands[0], Update), "the status comes first"
    condition = cluster.get(ReplicaSet, "web").status.conditions[0]
    assert (condition.type, condition.status, condition.reason, condition.message) == (
        "ReplicaFailure",
        "True",
        "FailedCreate",
        "exceeded quota: pods=1",
    )
    warnings = [event for event in of(commands, Event) if event.type == "Warning"]
    assert warnings[0].message == "Error creating: exceeded quota: pods=1"
    del cluster.failures[KEY]
    cluster.settle(RS)
    assert cluster.get(ReplicaSet, "web").status.conditions == ()


def fail(cluster: Cluster, pod: Pod) -> None:
    from common.api import times

    state = ContainerState(
        terminated=ContainerStateTerminated(finishedAt=times.to_time(cluster.now))
    )
    pod.status.phase = "Failed"
    pod.status.containerStatuses = (ContainerStatus(name="c", state=state),)
    cluster.put(pod)


def test_failed_pods_are_replaced_with_growing_delays(cluster: Cluster) -> None:
    cluster.put(replica_set(1))
    cluster.settle(RS)
    delays = []
    for _ in range(7):
        (pod,) = cluster.list(Pod)
        fail(cluster, pod)
        commands = cluster.reconcile(RS, KEY)
        (wait,) = of(commands, Requeue)
        assert not of(commands, Create)
        delays.append(wait.after_seconds)
        cluster.advance(wait.after_seconds)
        commands = cluster.reconcile(RS, KEY)
        assert [command.uid for command in of(commands, Delete)] == [pod.metadata.uid]
        cluster.settle(RS)
    assert delays == [10, 20, 40, 80, 160, 300, 300]


def test_a_pod_that_lived_long_starts_the_delays_anew(cluster: Cluster) -> None:
    cluster.put(replica_set(1))
    cluster.settle(RS)
    (pod,) = cluster.list(Pod)
    pod.metadata.annotations[FAILURES] = "5"
    cluster.advance(3600)
    fail(cluster, pod)
    (wait,) = of(cluster.reconcile(RS, KEY), Requeue)
    assert wait.after_seconds == 10


def test_succeeded_pods_are_replaced_at_once_and_left(cluster: Cluster) -> None:
    cluster.put(replica_set(1))
    cluster.settle(RS)
    (pod,) = cluster.list(Pod)
    pod.status.phase = "Succeeded"
    cluster.put(pod)
    commands = cluster.reconcile(RS, KEY)
    assert len(of(commands, Create)) == 1
    assert not of(commands, Delete)


def test_a_deleted_owner_does_nothing_more(cluster: Cluster) -> None:
    owner = replica_set(3)
    owner.metadata.deletionTimestamp = "2030-01-01T00:00:00Z"
    cluster.put(owner)
    assert not of(cluster.reconcile(RS, KEY), Create)
    assert RS.reconcile("default/gone", cluster.view, cluster.now) == []


def test_keys_of_pods(cluster: Cluster) -> None:
    cluster.put(replica_set(1))
    cluster.settle(RS)
    pods = cluster.listers["pods"]
    (mine,) = pods.list()
    orphan = cluster.put(Pod(metadata=ObjectMeta(name="o", namespace="default")))
    elsewhere = cluster.put(Pod(metadata=ObjectMeta(name="o", namespace="other")))
    assert set(RS.keys(cluster.view, pods.resource, None, mine)) == {KEY}
    assert set(RS.keys(cluster.view, pods.resource, mine, None)) == {KEY}
    assert set(RS.keys(cluster.view, pods.resource, None, orphan)) == {KEY}
    assert set(RS.keys(cluster.view, pods.resource, None, elsewhere)) == set()


def test_replication_controllers_do_the_same(cluster: Cluster) -> None:
    controller = ReplicationControllerController()
    cluster.put(
        ReplicationController(
            metadata=ObjectMeta(name="web", namespace="default", generation=3),
            spec=ReplicationControllerSpec(replicas=2, selector=LABELS, template=template()),
        )
    )
    cluster.settle(controller)
    cluster.all_ready()
    cluster.settle(controller)
    status = cluster.get(ReplicationController, "web").status
    assert (status.replicas, status.readyReplicas, status.observedGeneration) == (2, 2, 3)
