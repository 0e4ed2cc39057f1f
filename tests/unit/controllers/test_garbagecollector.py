"""Owner references: background, foreground, orphans, circles, references that are not allowed."""

from __future__ import annotations

import pytest

from common.api import times
from common.api.types.apps_v1 import ReplicaSet
from common.api.types.core_v1 import ConfigMap, Namespace, Node, Pod
from common.api.types.meta_v1 import ObjectMeta, OwnerReference
from common.client.commands import Command, Delete, Event, Requeue
from common.client.informer import Item, Lister
from master.controllers.garbagecollector import FOREGROUND, ORPHAN, GarbageCollector
from tests.unit.controllers.sim import Cluster

GC = GarbageCollector()


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    for name in ("default", "other"):
        made.put(Namespace(metadata=ObjectMeta(name=name)))
    return made


def ref(kind: str, owner: Item, *, block: bool = False) -> OwnerReference:
    version = "apps/v1" if kind == "ReplicaSet" else "v1"
    return OwnerReference(
        apiVersion=version, kind=kind, name=owner.name, uid=owner.uid, blockOwnerDeletion=block
    )


def put(
    cluster: Cluster,
    cls: type,
    name: str,
    *owners: OwnerReference,
    finalizers: tuple[str, ...] = (),
    deleting: bool = False,
) -> Item:
    meta = ObjectMeta(
        name=name,
        namespace="" if cls is Node else "default",
        ownerReferences=owners,
        finalizers=finalizers,
        deletionTimestamp=times.to_time(cluster.now) if deleting else None,
    )
    return cluster.put(cls(metadata=meta))


def catch_up(cluster: Cluster) -> None:
    """Every informer is as far as the newest revision."""
    for lister in cluster.listers.values():
        lister.revision = cluster.revision


def collect(cluster: Cluster, rounds: int = 20) -> list[Command]:
    """Reconcile every object until nothing is left to do; all commands."""
    found: list[Command] = []
    for _ in range(rounds):
        acted = False
        for lister in cluster.listers.values():
            for item in lister.list():
                catch_up(cluster)
                key = f"{lister.resource.group_resource}:{item.key}"
                commands = cluster.reconcile(GC, key)
                found += commands
                acted = acted or any(not isinstance(c, Event | Requeue) for c in commands)
        if not acted:
            return found
    raise AssertionError("the garbage collector does not come to rest")


def names(cluster: Cluster) -> set[str]:
    return {
        item.name
        for name, lister in cluster.listers.items()
        if name != "namespaces"
        for item in lister.list()
    }


def test_what_has_an_owner_stays(cluster: Cluster) -> None:
    owner = put(cluster, ReplicaSet, "rs")
    put(cluster, Pod, "p", ref("ReplicaSet", owner))
    assert collect(cluster) == []


def test_background_deletion_goes_down_the_tree(cluster: Cluster) -> None:
    owner = put(cluster, ReplicaSet, "rs")
    pod = put(cluster, Pod, "p", ref("ReplicaSet", owner))
    put(cluster, ConfigMap, "c", ref("Pod", pod))
    cluster.remove(ReplicaSet, "rs")
    commands = collect(cluster)
    deletes = [command for command in commands if isinstance(command, Delete)]
    assert next((d.name, d.uid == pod.uid) for d in deletes) == ("p", True)
    assert names(cluster) == set()


def test_an_owner_of_the_same_name_but_another_uid_is_gone(cluster: Cluster) -> None:
    owner = put(cluster, ReplicaSet, "rs")
    put(cluster, Pod, "p", ref("ReplicaSet", owner))
    cluster.remove(ReplicaSet, "rs")
    put(cluster, ReplicaSet, "rs")
    collect(cluster)
    assert names(cluster) == {"rs"}


def test_one_owner_that_is_left_holds_it(cluster: Cluster) -> None:
    one, two = put(cluster, ReplicaSet, "one"), put(cluster, ReplicaSet, "two")
    put(cluster, Pod, "p", ref("ReplicaSet", one), ref("ReplicaSet", two))
    cluster.remove(ReplicaSet, "one")
    collect(cluster)
    owners = cluster.get(Pod, "p").metadata.ownerReferences
    assert [owner.name for owner in owners] == ["two"]


def test_absence_counts_only_when_the_informer_is_up_to_date(cluster: Cluster) -> None:
    owner = put(cluster, ReplicaSet, "rs")
    put(cluster, Pod, "p", ref("ReplicaSet", owner))
    cluster.remove(ReplicaSet, "rs")
    for lister in cluster.listers.values():
        lister.revision = 0
    commands = cluster.reconcile(GC, "pods:default/p")
    assert [type(command) for command in commands] == [Requeue]
    catch_up(cluster)
    assert isinstance(cluster.reconcile(GC, "pods:default/p")[0], Delete)


def test_foreground_deletion_waits_for_those_that_block(cluster: Cluster) -> None:
    owner = put(cluster, ReplicaSet, "rs", finalizers=(FOREGROUND,), deleting=True)
    put(cluster, Pod, "p", ref("ReplicaSet", owner, block=True), finalizers=("hold",))
    catch_up(cluster)
    assert cluster.reconcile(GC, "replicasets.apps:default/rs") == []
    (delete,) = cluster.reconcile(GC, "pods:default/p")
    assert isinstance(delete, Delete)
    assert cluster.reconcile(GC, "replicasets.apps:default/rs") == [], "the pod is still there"
    cluster.remove(Pod, "p")
    cluster.reconcile(GC, "replicasets.apps:default/rs")
    assert names(cluster) == set()


def test_orphans_stay_without_an_owner(cluster: Cluster) -> None:
    owner = put(cluster, ReplicaSet, "rs", finalizers=(ORPHAN,), deleting=True)
    put(cluster, Pod, "p", ref("ReplicaSet", owner))
    collect(cluster)
    assert names(cluster) == {"p"}
    assert cluster.get(Pod, "p").metadata.ownerReferences == ()


def test_a_circle_ends(cluster: Cluster) -> None:
    one, two = put(cluster, ConfigMap, "one"), put(cluster, ConfigMap, "two")
    for name, own, other in (("one", one, two), ("two", two, one)):
        found = cluster.get(ConfigMap, name)
        found.metadata.ownerReferences = (ref("ConfigMap", other, block=True),)
        if own is one:
            found.metadata.finalizers = (FOREGROUND,)
            found.metadata.deletionTimestamp = times.to_time(cluster.now)
        cluster.put(found)
    collect(cluster)
    assert names(cluster) == set()


def test_an_owner_in_another_namespace_is_told_and_nothing_deleted(cluster: Cluster) -> None:
    owner = cluster.put(ReplicaSet(metadata=ObjectMeta(name="rs", namespace="other")))
    put(cluster, Pod, "p", ref("ReplicaSet", owner))
    commands = collect(cluster)
    assert {type(command) for command in commands} == {Event}
    assert cluster.events[0].reason == "OwnerRefInvalidNamespace"


def test_an_owner_is_not_looked_for_in_every_namespace(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object may name ten thousand owners, and there may be a thousand namespaces."""
    for number in range(50):
        cluster.put(Namespace(metadata=ObjectMeta(name=f"n{number}")))
    owners = [
        OwnerReference(apiVersion="v1", kind="ConfigMap", name=f"c{n}", uid=f"u{n}")
        for n in range(50)
    ]
    put(cluster, ConfigMap, "child", *owners)
    catch_up(cluster)
    asked = []
    real = Lister.get
    monkeypatch.setattr(Lister, "get", lambda *args: asked.append(args) or real(*args))
    assert cluster.reconcile(GC, "configmaps:default/child")
    assert len(asked) <= 2 * len(owners)


def test_cluster_scoped_owners(cluster: Cluster) -> None:
    owner = put(cluster, Node, "n")
    put(cluster, Pod, "p", ref("Node", owner))
    assert collect(cluster) == []
    cluster.remove(Node, "n", "")
    collect(cluster)
    assert names(cluster) == set()


def test_unknown_kinds_hold(cluster: Cluster) -> None:
    owner = OwnerReference(apiVersion="example.com/v1", kind="Thing", name="t", uid="u")
    put(cluster, Pod, "p", owner)
    assert collect(cluster) == []


def test_keys(cluster: Cluster) -> None:
    owner = put(cluster, ReplicaSet, "rs", finalizers=(FOREGROUND,), deleting=True)
    pod = put(cluster, Pod, "p", ref("ReplicaSet", owner))
    sets, pods = cluster.listers["replicasets.apps"].resource, cluster.listers["pods"].resource
    own, dependent = "replicasets.apps:default/rs", "pods:default/p"
    assert set(GC.keys(cluster.view, sets, owner, owner)) == {own, dependent}
    assert set(GC.keys(cluster.view, sets, owner, None)) == {dependent}
    assert set(GC.keys(cluster.view, pods, pod, None)) == {own}
