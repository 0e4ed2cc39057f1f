"""Properties of rollouts, whatever users do and in whatever order pods become ready."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.api.types.apps_v1 import Deployment, ReplicaSet
from common.api.types.core_v1 import Container, Pod
from master.controllers.lib import pods
from master.controllers.workloads import rollout
from master.controllers.workloads.deployment import DeploymentController
from master.controllers.workloads.replicaset import ReplicaSetController
from tests.examples import examples
from tests.unit.controllers.sim import Cluster
from tests.unit.controllers.test_deployment import KEY, deployment

D, RS = DeploymentController(), ReplicaSetController()
sizes = st.integers(0, 8)
posts = st.one_of(st.integers(0, 4), st.sampled_from(["0%", "10%", "25%", "50%", "100%"]))


def active(cluster: Cluster) -> list[Pod]:
    """Pods that count as replicas."""
    return [pod for pod in cluster.list(Pod) if pods.is_active(pod)]


class Rollout(RuleBasedStateMachine):
    """A user edits, pods become ready or fail, controllers run in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.images = 1
        self.rolling = False

    @initialize(replicas=sizes, surge=posts, unavailable=posts)
    def begin(self, replicas: int, surge: int | str, unavailable: int | str) -> None:
        self.cluster.put(deployment(replicas, surge=surge, unavailable=unavailable))

    def edit(self, **spec: object) -> None:
        found = self.cluster.get(Deployment, "web")
        for name, value in spec.items():
            setattr(found.spec, name, value)
        found.metadata.generation += 1
        self.cluster.put(found)

    @rule(image=st.integers(1, 4))
    def change_image(self, image: int) -> None:
        found = self.cluster.get(Deployment, "web")
        found.spec.template.spec.containers = (Container(name="c", image=f"v{image}"),)
        self.edit(template=found.spec.template)

    @rule(replicas=sizes)
    def scale(self, replicas: int) -> None:
        self.edit(replicas=replicas)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.edit(paused=paused)

    @rule()
    def time_passes(self) -> None:
        self.cluster.advance(7)

    @rule()
    def run_deployment(self) -> None:
        before = self.counted()
        found = self.cluster.get(Deployment, "web")
        limit = max(rollout.maximum(found), sum(before.values()))
        self.cluster.advance(1)
        self.cluster.reconcile(D, KEY)
        assert sum(self.counted().values()) <= limit, "more pods than replicas + maxSurge"

    @rule(data=st.data())
    def run_replica_set(self, data: st.DataObject) -> None:
        keys = [item.key for item in self.cluster.listers["replicasets.apps"].list()]
        if keys:
            self.cluster.reconcile(RS, data.draw(st.sampled_from(keys)))

    @rule(data=st.data())
    def one_becomes_ready(self, data: st.DataObject) -> None:
        pending = [pod for pod in active(self.cluster) if pod.status.phase == "Pending"]
        if pending:
            self.cluster.make_ready(data.draw(st.sampled_from(pending)))

    @rule(data=st.data())
    def one_fails(self, data: st.DataObject) -> None:
        found = active(self.cluster)
        if found:
            pod = data.draw(st.sampled_from(found))
            pod.status.phase = "Failed"
            self.cluster.put(pod)

    def counted(self) -> dict[str, int]:
        return {rs.metadata.name: rollout.size(rs) for rs in self.cluster.list(ReplicaSet)}

    @precondition(lambda self: self.cluster.listers["deployments.apps"].list())
    @invariant()
    def one_replica_set_a_template(self) -> None:
        images = [rs.spec.template.spec.containers[0].image for rs in self.cluster.list(ReplicaSet)]
        assert len(images) == len(set(images))

    def teardown(self) -> None:
        """When users and failures stop, everything becomes as wanted, and then stays."""
        if not self.cluster.listers["deployments.apps"].list():
            return
        self.edit(paused=False)
        for _ in range(60):
            before = self.cluster.revision
            self.cluster.advance(301)
            self.cluster.settle(D, RS)
            self.cluster.all_ready()
            if self.cluster.revision == before:
                break
        found = self.cluster.get(Deployment, "web")
        total = rollout.wanted(found)
        assert len(active(self.cluster)) == total
        image = found.spec.template.spec.containers[0].image
        assert {pod.spec.containers[0].image for pod in active(self.cluster)} <= {image}
        assert found.status.availableReplicas == found.status.updatedReplicas == total
        assert self.cluster.settle(D, RS) == 0


TestRollout = Rollout.TestCase
TestRollout.settings = settings(
    max_examples=examples(30),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@given(
    replicas=st.integers(1, 8),
    surge=posts,
    unavailable=posts,
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
def test_availability_during_an_update(
    replicas: int, surge: int | str, unavailable: int | str, seed: object
) -> None:
    """Never more than maxSurge above, never fewer available than maxUnavailable below."""
    cluster = Cluster()
    cluster.put(deployment(replicas, surge=surge, unavailable=unavailable))
    for _ in range(3):
        cluster.settle(D, RS)
        cluster.all_ready()
    cluster.settle(D, RS)
    found = cluster.get(Deployment, "web")
    assert found.status.availableReplicas == replicas
    found.spec.template.spec.containers = (Container(name="c", image="v2"),)
    found.metadata.generation += 1
    cluster.put(found)
    most, fewest = rollout.maximum(found), rollout.minimum(found)
    for _ in range(120):
        keys = [item.key for item in cluster.listers["replicasets.apps"].list()]
        step = seed.choice(["deployment", "ready", *keys])  # type: ignore[attr-defined]
        cluster.advance(1)
        if step == "deployment":
            cluster.reconcile(D, KEY)
        elif step == "ready":
            pending = [pod for pod in active(cluster) if pod.status.phase == "Pending"]
            if pending:
                cluster.make_ready(seed.choice(pending))  # type: ignore[attr-defined]
        else:
            cluster.reconcile(RS, step)
        now = active(cluster)
        assert len(now) <= most
        assert sum(pods.is_ready(pod) for pod in now) >= fewest
