"""Deployments: rollouts step by step."""

from __future__ import annotations

import pytest

from common.api import conditions
from common.api.types.apps_v1 import (
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    ReplicaSet,
    RollingUpdateDeployment,
)
from common.api.types.core_v1 import Container, Pod, PodSpec, PodTemplateSpec
from common.api.types.meta_v1 import LabelSelector, ObjectMeta
from common.client.commands import Create, Patch, Requeue, Update
from master.controllers.base import Failure
from master.controllers.workloads import rollout
from master.controllers.workloads.deployment import DeploymentController
from master.controllers.workloads.replicaset import ReplicaSetController
from tests.unit.controllers.sim import Cluster

KEY = "default/web"
D, RS = DeploymentController(), ReplicaSetController()
REVISION = "deployment.kubernetes.io/revision"


def deployment(
    replicas: int = 3,
    *,
    surge: int | str = "25%",
    unavailable: int | str = "25%",
    strategy: str = "RollingUpdate",
    **spec: int | bool,
) -> Deployment:
    """A Deployment as the API server stores it, with the defaults in place."""
    labels = {"app": "web"}
    rolling = RollingUpdateDeployment(maxSurge=surge, maxUnavailable=unavailable)
    return Deployment(
        metadata=ObjectMeta(name="web", namespace="default", generation=1),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(matchLabels=labels),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=labels),
                spec=PodSpec(containers=(Container(name="c", image="v1"),)),
            ),
            strategy=DeploymentStrategy(
                type=strategy, rollingUpdate=rolling if strategy == "RollingUpdate" else None
            ),
            **({"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10} | spec),
        ),
    )


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def change(cluster: Cluster, **spec: object) -> None:
    """A user's edit: the generation grows."""
    found = cluster.get(Deployment, "web")
    image = spec.pop("image", None)
    if image is not None:
        found.spec.template.spec.containers = (Container(name="c", image=str(image)),)
    for name, value in spec.items():
        setattr(found.spec, name, value)
    found.metadata.generation += 1
    cluster.put(found)


def roll(cluster: Cluster, rounds: int = 40) -> list[tuple[int, ...]]:
    """Run both controllers, make pods ready, until rest; the sizes of ReplicaSets by age."""
    seen: list[tuple[int, ...]] = []
    for _ in range(rounds):
        before = cluster.revision
        cluster.advance(1)
        cluster.settle(D, RS)
        replica_sets = sorted(cluster.list(ReplicaSet), key=rollout.by_age)
        seen.append(tuple(rollout.size(rs) for rs in replica_sets))
        cluster.all_ready()
        if cluster.revision == before:
            return seen
    raise AssertionError("the rollout does not end")


def progressing(cluster: Cluster) -> tuple[str, str, str]:
    """Status, reason and message of the condition Progressing."""
    found = conditions.find(cluster.get(Deployment, "web").status.conditions, "Progressing")
    assert found is not None
    return found.status, found.reason, found.message


def sets(cluster: Cluster) -> list[ReplicaSet]:
    """ReplicaSets, oldest first."""
    return sorted(cluster.list(ReplicaSet), key=rollout.by_age)


def test_the_first_replica_set(cluster: Cluster) -> None:
    cluster.put(deployment(3))
    commands = cluster.reconcile(D, KEY)
    assert isinstance(commands[0], Create)
    (made,) = sets(cluster)
    code = made.metadata.labels["pod-template-hash"]
    assert made.metadata.name == f"web-{code}"
    assert made.spec.selector.matchLabels == {"app": "web", "pod-template-hash": code}
    assert made.spec.template.metadata.labels == made.metadata.labels
    assert made.metadata.annotations == {
        REVISION: "1",
        rollout.DESIRED: "3",
        rollout.MAXIMUM: "4",
    }
    assert cluster.events[0].reason == "ScalingReplicaSet"
    assert cluster.events[0].message == f"Scaled up replica set {made.metadata.name} from 0 to 3"
    text = f'Created new replica set "{made.metadata.name}"'
    assert progressing(cluster) == ("True", "NewReplicaSetCreated", text)


def test_a_finished_rollout_and_its_status(cluster: Cluster) -> None:
    cluster.put(deployment(3))
    roll(cluster)
    found = cluster.get(Deployment, "web")
    status = found.status
    assert (status.replicas, status.updatedReplicas, status.readyReplicas) == (3, 3, 3)
    assert (status.availableReplicas, status.unavailableReplicas) == (3, 0)
    assert status.observedGeneration == 1
    assert found.metadata.annotations[REVISION] == "1"
    name = sets(cluster)[0].metadata.name
    text = f'ReplicaSet "{name}" has successfully progressed.'
    assert progressing(cluster) == ("True", "NewReplicaSetAvailable", text)
    available = conditions.find(status.conditions, "Available")
    assert available is not None
    assert (available.reason, available.message) == (
        "MinimumReplicasAvailable",
        "Deployment has minimum availability.",
    )
    assert cluster.reconcile(D, KEY) == []


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "steps"),
    [
        (3, 1, 0, [(3, 1), (2, 2), (1, 3), (0, 3)]),
        (3, 0, 1, [(2, 1), (1, 2), (0, 3)]),
        (4, "25%", "25%", [(3, 2), (1, 4), (0, 4)]),
        (3, "25%", "25%", [(3, 1), (2, 2), (1, 3), (0, 3)]),
        (1, "25%", "25%", [(1, 1), (0, 1)]),
        (2, 0, "10%", [(1, 1), (0, 2)]),
        (3, "100%", "0%", [(3, 3), (0, 3)]),
    ],
)
def test_steps_of_a_rolling_update(
    cluster: Cluster,
    replicas: int,
    surge: int | str,
    unavailable: int | str,
    steps: list[tuple[int, ...]],
) -> None:
    cluster.put(deployment(replicas, surge=surge, unavailable=unavailable))
    roll(cluster)
    change(cluster, image="v2")
    seen = roll(cluster)
    distinct = [step for number, step in enumerate(seen) if number == 0 or seen[number - 1] != step]
    assert distinct == steps


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (2, 0, "10%", (0, 1)),
        (4, 0, 10, (0, 4)),
        (0, "25%", "25%", (0, 0)),
        (4, "9" * 5000 + "%", 0, (4 * rollout.PERCENT_MAX // 100, 0)),
    ],
)
def test_percentages_are_rounded_up_for_surge_and_down_for_unavailable(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    found = deployment(replicas, surge=surge, unavailable=unavailable)
    assert rollout.fenceposts(found) == expected


def test_recreate_waits_until_the_old_pods_are_gone(cluster: Cluster) -> None:
    cluster.put(deployment(2, strategy="Recreate"))
    roll(cluster)
    change(cluster, image="v2")
    cluster.advance(1)
    cluster.reconcile(D, KEY)
    assert [rollout.size(rs) for rs in sets(cluster)] == [0]
    cluster.reconcile(D, KEY)
    assert len(sets(cluster)) == 1, "old pods are still there"
    roll(cluster)
    assert [rollout.size(rs) for rs in sets(cluster)] == [0, 2]
    assert cluster.get(Deployment, "web").metadata.annotations[REVISION] == "2"


def test_undo_takes_the_old_replica_set_with_a_new_revision(cluster: Cluster) -> None:
    cluster.put(deployment(2))
    roll(cluster)
    change(cluster, image="v2")
    roll(cluster)
    change(cluster, image="v1")
    roll(cluster)
    first, second = sets(cluster)
    assert [rollout.size(rs) for rs in (first, second)] == [2, 0]
    assert first.metadata.annotations[REVISION] == "3"
    assert first.metadata.annotations["deployment.kubernetes.io/revision-history"] == "1"
    assert cluster.get(Deployment, "web").metadata.annotations[REVISION] == "3"


def test_history_limit(cluster: Cluster) -> None:
    cluster.put(deployment(1, revisionHistoryLimit=1))
    for image in ("v1", "v2", "v3", "v4"):
        change(cluster, image=image)
        roll(cluster)
    revisions = [rs.metadata.annotations[REVISION] for rs in sets(cluster)]
    assert revisions == ["3", "4"]


def test_a_paused_deployment_does_not_roll_but_scales(cluster: Cluster) -> None:
    cluster.put(deployment(2))
    roll(cluster)
    change(cluster, image="v2", paused=True)
    roll(cluster)
    assert len(sets(cluster)) == 1
    assert progressing(cluster) == ("Unknown", "DeploymentPaused", "Deployment is paused")
    change(cluster, replicas=5)
    roll(cluster)
    assert [rollout.size(rs) for rs in sets(cluster)] == [5]
    change(cluster, paused=False)
    cluster.advance(1)
    cluster.reconcile(D, KEY)
    roll(cluster)
    assert [rollout.size(rs) for rs in sets(cluster)] == [0, 5]
    assert progressing(cluster)[1] == "NewReplicaSetAvailable"


def test_scaling_in_the_middle_of_an_update_is_proportional(cluster: Cluster) -> None:
    cluster.put(deployment(10, surge=3, unavailable=2))
    roll(cluster)
    change(cluster, image="bad")
    cluster.settle(D, RS)
    assert [rollout.size(rs) for rs in sets(cluster)] == [8, 5]
    change(cluster, replicas=15)
    cluster.reconcile(D, KEY)
    assert [rollout.size(rs) for rs in sets(cluster)] == [11, 7]


def test_no_progress_is_told_after_the_deadline(cluster: Cluster) -> None:
    cluster.put(deployment(1))
    cluster.settle(D, RS)
    wait = [c for c in D.reconcile(KEY, cluster.view, cluster.now) if isinstance(c, Requeue)]
    assert wait[0].after_seconds == 601
    cluster.advance(601)
    cluster.settle(D, RS)
    name = sets(cluster)[0].metadata.name
    text = f'ReplicaSet "{name}" has timed out progressing.'
    assert progressing(cluster) == ("False", "ProgressDeadlineExceeded", text)
    cluster.all_ready()
    cluster.settle(D, RS)
    assert progressing(cluster)[1] == "NewReplicaSetAvailable"


def test_a_taken_name_takes_another_hash(cluster: Cluster) -> None:
    cluster.put(deployment(1))
    commands = D.reconcile(KEY, cluster.view, cluster.now)
    (made,) = [command.body for command in commands if isinstance(command, Create)]
    made.metadata.namespace = "default"
    made.metadata.ownerReferences = ()
    made.metadata.labels = {"some": "thing"}
    cluster.put(made)
    cluster.settle(D, RS)
    names = {rs.metadata.name for rs in cluster.list(ReplicaSet)}
    assert len(names) == 2
    assert cluster.get(Deployment, "web").status.collisionCount == 1


def test_a_refused_replica_set_is_told(cluster: Cluster) -> None:
    cluster.put(deployment(1))
    cluster.failures[KEY] = Failure("create", "no")
    commands = D.reconcile(KEY, cluster.view, cluster.now)
    (update,) = [command for command in commands if isinstance(command, Update)]
    assert commands.index(update) < [isinstance(c, Create) for c in commands].index(True)
    condition = conditions.find(update.body.status.conditions, "Progressing")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "ReplicaSetCreateError")


def test_annotations_and_min_ready_seconds_follow(cluster: Cluster) -> None:
    cluster.put(deployment(1))
    roll(cluster)
    found = cluster.get(Deployment, "web")
    found.metadata.annotations["kubernetes.io/change-cause"] = "because"
    found.spec.minReadySeconds = 5
    cluster.put(found)
    roll(cluster)
    (made,) = sets(cluster)
    assert made.metadata.annotations["kubernetes.io/change-cause"] == "because"
    assert made.spec.minReadySeconds == 5


def test_a_pod_that_ends_wakes_its_deployment(cluster: Cluster) -> None:
    cluster.put(deployment(1))
    cluster.settle(D, RS)
    pods = cluster.listers["pods"]
    (pod,) = pods.list()
    assert list(D.keys(cluster.view, pods.resource, pod, None)) == [KEY]
    assert list(D.keys(cluster.view, pods.resource, None, pod)) == []
    assert cluster.list(Pod)[0].metadata.name == pod.name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("3546343826724305832", "3546343826724305833"),
        (str(2**63 - 2), str(2**63 - 1)),
        (str(2**63), "1"),
        ("many", "1"),
    ],
)
def test_a_revision_is_one_more_than_any_of_64_bits(
    cluster: Cluster, before: str, after: str
) -> None:
    cluster.put(deployment(1))
    roll(cluster)
    (old,) = sets(cluster)
    old.metadata.annotations[REVISION] = before
    cluster.put(old)
    change(cluster, image="v2")
    roll(cluster)
    assert sets(cluster)[1].metadata.annotations[REVISION] == after


def test_after_the_last_revision_there_is_none(cluster: Cluster) -> None:
    cluster.put(deployment(1))
    roll(cluster)
    (old,) = sets(cluster)
    old.metadata.annotations[REVISION] = str(2**63 - 1)
    cluster.put(old)
    change(cluster, image="v2")
    roll(cluster)
    assert REVISION not in sets(cluster)[1].metadata.annotations


@pytest.mark.parametrize("noted", ["-1", "+7", "1_0", str(2**31), "9" * 5000, "\u0663"])
def test_sizes_that_others_noted_are_read_as_go_reads_them(cluster: Cluster, noted: str) -> None:
    cluster.put(deployment(2))
    roll(cluster)
    (only,) = sets(cluster)
    only.metadata.annotations[rollout.DESIRED] = noted
    assert not rollout.was_scaled(cluster.get(Deployment, "web"), [only])


def test_the_revision_is_told_by_the_path_of_the_status(cluster: Cluster) -> None:
    """Annotations that are written otherwise count as a change, and the generation grows."""
    cluster.put(deployment(1))
    commands = [c for _ in range(4) for c in cluster.reconcile(D, KEY)]
    (told,) = [c for c in commands if isinstance(c, Patch)]
    assert (told.subresource, told.patch["metadata"]["annotations"]) == ("status", {REVISION: "1"})
