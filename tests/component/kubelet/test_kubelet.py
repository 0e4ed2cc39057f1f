"""The kubelet with a fake runtime and a fake master: from assignment to nothing left."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from common.api import conditions, times
from common.api.codec import json as codec
from common.api.types.core_v1 import NodeStatus, Secret
from node.kubelet.volumes import volumes
from node.runtime.base import ImagePullFailed, InvalidImageName, RuntimeUnavailable
from node.runtime.fake import Program
from protos import node_v1_pb2
from tests.fakes.kubelet import FakeNode
from tests.fakes.pods import UID, container, pod

STOPS_ON_TERM = ("polite",)
OTHER = "6a5e7c1e-0000-4000-8000-000000000002"
ENDS = ("ends",)
FAILS = ("fails",)
ABSENT = ("absent",)
DELETED = {"deletionTimestamp": "2030-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
ENDS_OF_DELETED = [
    ("Always", STOPS_ON_TERM, "Succeeded", 0),
    ("Never", STOPS_ON_TERM, "Succeeded", 0),
    ("Always", ("ignores",), "Failed", 137),
]


@pytest.fixture(autouse=True)
def programs(node: FakeNode) -> None:
    """What the commands of the tests' containers do."""
    node.runtime.programs |= {
        STOPS_ON_TERM: Program(term_exit_code=0),
        ENDS: Program(exit_code=0),
        FAILS: Program(exit_code=3),
        ABSENT: Program(start_error="executable file not found"),
    }


async def test_a_pod_runs_and_its_status_is_reported(node: FakeNode) -> None:
    await node.assign(pod())
    status = node.master.last(UID)
    assert status.phase == "Running"
    assert status.podIP == "10.42.1.2"
    assert [reason for reason, _ in node.events] == ["Pulled", "Created", "Started"]
    phases = [report.phase for report in node.master.reports[UID]]
    assert phases == sorted(phases, key=["Pending", "Running"].index)


async def test_nothing_is_reported_while_nothing_changes(node: FakeNode) -> None:
    await node.assign(pod())
    count = len(node.master.reports[UID])
    await node.wait(120)
    assert len(node.master.reports[UID]) == count


async def test_a_deleted_pod_is_stopped_removed_and_said_to_be_gone(node: FakeNode) -> None:
    await node.assign(pod(containers=[container(command=STOPS_ON_TERM)]))
    deleted = {"deletionTimestamp": "2030-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
    await node.assign(pod(containers=[container(command=STOPS_ON_TERM)], metadata=deleted))
    assert node.master.gone == [UID]
    assert await node.containers() == {}
    assert await node.sandbox.list() == []
    await node.remove(UID)
    assert node.kubelet.assignments() == {}


@pytest.mark.parametrize(("policy", "command", "phase", "code"), ENDS_OF_DELETED)
async def test_a_deleted_pod_that_is_kept_by_a_finalizer_tells_how_it_ended(
    node: FakeNode, policy: str, command: tuple[str, ...], phase: str, code: int
) -> None:
    one = pod(containers=[container(command=command)], restartPolicy=policy)
    await node.assign(one)
    one = pod(containers=[container(command=command)], restartPolicy=policy, metadata=DELETED)
    await node.assign(one)
    await node.wait(31)
    assert UID in node.master.gone
    kept = node.master.last(UID)
    assert kept.phase == phase
    end = kept.containerStatuses[0].state.terminated
    assert end is not None
    assert (end.exitCode, bool(end.containerID)) == (code, True)
    one.status = kept
    await node.restart()
    after = node.master.last(UID)
    assert (after.phase, after.containerStatuses) == (phase, kept.containerStatuses)


async def test_a_process_that_ignores_term_is_killed_when_its_time_is_over(node: FakeNode) -> None:
    await node.assign(pod())
    # The stamp has passed for this node, whose clock is ahead or which heard of it late.
    deleted = {"deletionTimestamp": "2029-12-31T00:00:00Z", "deletionGracePeriodSeconds": 30}
    await node.assign(pod(metadata=deleted))
    await node.wait(29)
    assert node.master.gone == []
    await node.wait(2)
    assert node.master.gone == [UID]
    signals = [call.split()[-1] for call in node.runtime.changes() if call.startswith("signal")]
    assert signals == ["TERM", "KILL"]


async def test_deletion_with_the_shortest_grace_leaves_time_to_end(node: FakeNode) -> None:
    await node.assign(pod())
    deleted = {"deletionTimestamp": "2030-01-01T00:00:00Z", "deletionGracePeriodSeconds": 300}
    await node.assign(pod(metadata=deleted))
    await node.wait(5)
    await node.assign(pod(metadata=deleted | {"deletionGracePeriodSeconds": 1}))
    await node.wait(0.9)
    assert node.runtime.changes()[-1].endswith("TERM")
    await node.wait(0.2)
    assert node.master.gone == [UID]


async def test_a_clock_that_is_set_in_a_grace_period_changes_nothing(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.assign(pod())
    deleted = {"deletionTimestamp": "2030-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
    await node.assign(pod(metadata=deleted))
    right = node.clock.now
    monkeypatch.setattr(node.clock, "now", lambda: right() + timedelta(hours=1))
    await node.wait(29)
    assert node.runtime.changes()[-1].endswith("TERM")
    monkeypatch.setattr(node.clock, "now", lambda: right() - timedelta(hours=1))
    await node.wait(2)
    assert node.master.gone == [UID]


SET = [pytest.param(-3600, id="forward"), pytest.param(3600, id="back")]
"""By how many seconds the wall clock is set back."""


@pytest.mark.parametrize("back_seconds", SET)
async def test_a_clock_that_is_set_neither_skips_nor_stretches_a_crash_loop(
    node: FakeNode, back_seconds: int
) -> None:
    await node.assign(pod(containers=[container(command=FAILS)]))
    await node.wait(31)
    assert max(await node.containers()) == "app/3", "at 0 s, 0 s, 10 s, 30 s; the next at 70 s"
    node.clock.set_back(back_seconds)
    await node.wait(38)
    assert max(await node.containers()) == "app/3"
    await node.wait(2)
    assert max(await node.containers()) == "app/4"


async def test_a_restart_of_the_kubelet_begins_no_back_off_anew(node: FakeNode) -> None:
    await node.assign(pod(containers=[container(command=FAILS)]))
    await node.wait(60)
    assert max(await node.containers()) == "app/3"
    await node.restart()
    await node.wait(9)
    assert max(await node.containers()) == "app/3"
    await node.wait(2)
    assert max(await node.containers()) == "app/4", "at 70 s, as if there had been one kubelet"


async def test_a_restart_of_the_kubelet_does_not_forget_that_a_run_ended_the_back_off(
    node: FakeNode,
) -> None:
    await node.assign(pod())
    for attempt, seconds in enumerate((0, 0, 615, 0)):
        await node.wait(seconds)
        await node.end((await node.containers())[f"app/{attempt}"].id, 1)
    assert max(await node.containers()) == "app/3", "app/2 ran for ten minutes"
    await node.restart()
    await node.wait(9)
    assert max(await node.containers()) == "app/3"
    await node.wait(2)
    assert max(await node.containers()) == "app/4", "10 s: it counts from app/2"


@pytest.mark.parametrize(
    ("ran_seconds", "back_seconds", "waits_seconds"), [(599, -3600, 10), (601, 3600, 0)]
)
async def test_a_clock_that_is_set_makes_no_run_longer_or_shorter(
    node: FakeNode, ran_seconds: int, back_seconds: int, waits_seconds: int
) -> None:
    """A run of ten minutes ends the back-off."""
    await node.assign(pod())
    await node.end((await node.containers())["app/0"].id, 1)
    node.clock.set_back(back_seconds)
    await node.wait(ran_seconds)
    await node.end((await node.containers())["app/1"].id, 1)
    if waits_seconds:
        await node.wait(waits_seconds - 1)
        assert "app/2" not in await node.containers()
        await node.wait(2)
    assert "app/2" in await node.containers()


@pytest.mark.parametrize("back_seconds", SET)
async def test_a_clock_that_is_set_neither_skips_nor_stretches_a_deadline(
    node: FakeNode, back_seconds: int
) -> None:
    await node.assign(pod(activeDeadlineSeconds=60, containers=[container(command=STOPS_ON_TERM)]))
    await node.wait(30)
    node.clock.set_back(back_seconds)
    await node.wait(29)
    assert node.master.last(UID).phase == "Running"
    await node.wait(2)
    assert node.master.last(UID).reason == "DeadlineExceeded"


async def test_a_restart_of_the_kubelet_begins_no_deadline_anew(node: FakeNode) -> None:
    one = pod(activeDeadlineSeconds=60, containers=[container(command=STOPS_ON_TERM)])
    await node.assign(one)
    await node.wait(50)
    one.status = node.master.last(UID)
    await node.restart()
    await node.wait(9)
    assert node.master.last(UID).phase == "Running"
    await node.wait(2)
    assert node.master.last(UID).reason == "DeadlineExceeded"


async def test_a_pod_past_its_deadline_is_killed_and_failed(node: FakeNode) -> None:
    await node.assign(pod(activeDeadlineSeconds=60, terminationGracePeriodSeconds=5))
    await node.wait(59)
    assert node.master.last(UID).phase == "Running"
    await node.wait(4)
    assert node.runtime.changes()[-1].endswith("TERM")
    assert node.master.last(UID).phase == "Running", "its container runs still"
    await node.wait(3)
    status = node.master.last(UID)
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")
    assert [s.state for s in (await node.containers()).values()] == ["exited"]


async def test_a_pod_that_outgrows_its_volume_is_evicted(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catalogue row F23: what it writes is counted while it runs."""
    sizes = iter([1 << 20, None, (1 << 20) + 1])
    monkeypatch.setattr(volumes, "used_bytes", lambda path: next(sizes))
    await node.assign(
        pod(
            volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
            terminationGracePeriodSeconds=600,
        )
    )
    await node.wait(19)
    assert node.master.last(UID).phase == "Running"
    await node.wait(1)
    assert node.runtime.changes()[-1].endswith("TERM")
    await node.wait(2)
    status = node.master.last(UID)
    message = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi".'
    assert (status.phase, status.reason, status.message) == ("Failed", "Evicted", message)
    assert ("Evicted", message) in node.events
    assert next(sizes, "none is left") == "none is left"


async def test_a_container_that_outgrows_its_share_of_the_disk_is_evicted(node: FakeNode) -> None:
    """Catalogue row F23: its log is a part of what it takes; here it is all of it."""
    limit = {"limits": {"ephemeral-storage": "1Mi"}}
    await node.assign(pod(containers=[container(resources=limit)], terminationGracePeriodSeconds=9))
    [status] = (await node.containers()).values()
    await node.wait(11)
    assert node.master.last(UID).phase == "Running"
    Path(status.log_path).with_suffix(".log.1").write_bytes(bytes(2 << 20))
    await node.wait(12)
    reported = node.master.last(UID)
    message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi."
    assert (reported.phase, reported.reason, reported.message) == ("Failed", "Evicted", message)


async def test_a_restart_of_the_kubelet_keeps_why_a_pod_has_failed(node: FakeNode) -> None:
    one = pod(activeDeadlineSeconds=60, containers=[container(command=STOPS_ON_TERM)])
    await node.assign(one)
    await node.wait(61)
    one.status = node.master.last(UID)
    assert one.status.reason == "DeadlineExceeded"
    await node.restart()
    node.kubelet.synced({UID})
    await node.settle()
    status = node.master.last(UID)
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")
    assert status.message == "Pod was active on the node longer than the specified deadline"


async def test_pods_of_a_machine_that_goes_down_end_politely_and_do_not_start_again(
    node: FakeNode,
) -> None:
    """What ignores TERM is killed in time; no pod has failed for it: it goes on after the boot."""
    long = {"terminationGracePeriodSeconds": 600}
    await node.assign(
        pod(metadata={"name": "polite"}, containers=[container(command=STOPS_ON_TERM)], **long),
        pod(metadata={"name": "stubborn", "uid": OTHER}, **long),
    )
    going_down = asyncio.create_task(node.kubelet.halt(10))
    await node.settle()
    ready = conditions.find(codec.decode(node.master.nodes[-1], NodeStatus).conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.message) == ("False", "node is shutting down")
    assert [call.split()[-1] for call in node.runtime.changes()[-2:]] == ["TERM", "TERM"]
    await node.wait(9.9)
    assert not going_down.done()
    await node.wait(0.2)
    assert going_down.done()
    assert node.runtime.changes()[-1].endswith("KILL")
    await node.wait(60)
    assert node.runtime.changes()[-1].endswith("KILL"), "nothing starts again"
    assert {node.master.last(uid).phase for uid in (UID, OTHER)} == {"Running"}


async def test_what_ended_with_the_machine_ended_when_that_was_found(node: FakeNode) -> None:
    one = pod(containers=[container(command=STOPS_ON_TERM)])
    await node.assign(one)
    first = (await node.containers())["app/0"]
    await node.stop()
    fields = {"state": "exited", "pid": 0, "exit_code": 255, "lost": True}
    node.runtime._change(first.id, **fields)
    await node.clock.advance(3600)
    found = node.clock.now()
    await node.start()
    for _ in range(2):  # a kubelet that begins later knows no other end
        one.status = node.master.last(UID)
        [status] = one.status.containerStatuses
        assert (status.state.running is not None, status.restartCount) == (True, 1)
        end = status.lastState.terminated
        assert end is not None
        assert (end.exitCode, end.reason) == (255, "Unknown")
        assert end.finishedAt == times.to_time(found)
        await node.clock.advance(60)
        await node.restart()


async def test_a_restart_of_the_kubelet_keeps_stopping_a_pod_past_its_deadline(
    node: FakeNode,
) -> None:
    one = pod(activeDeadlineSeconds=60, terminationGracePeriodSeconds=5)
    await node.assign(one)
    await node.wait(61)
    one.status = node.master.last(UID)
    assert one.status.phase == "Running"
    await node.restart()
    await node.wait(10)
    status = node.master.last(UID)
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")
    assert list(await node.containers()) == ["app/0"], "nothing is started again"


async def test_a_restart_long_ago_takes_no_time_from_the_grace_of_the_pods_end(
    node: FakeNode,
) -> None:
    node.checks.answers[80] = 500
    probe = {"httpGet": {"port": 80}, "periodSeconds": 5, "failureThreshold": 1}
    one = container(livenessProbe=probe)
    await node.assign(
        pod(containers=[one], activeDeadlineSeconds=600, terminationGracePeriodSeconds=5)
    )
    await node.wait(3)
    node.checks.answers[80] = 200
    await node.wait(300)
    assert "app/1" in await node.containers()
    await node.wait(298)
    assert node.runtime.changes()[-1].endswith("TERM")
    await node.wait(3)
    assert node.runtime.changes()[-1].endswith("TERM")
    await node.wait(2)
    assert node.runtime.changes()[-1].endswith("KILL")


async def test_an_end_starts_the_next_attempt_at_once_and_a_crash_loop_waits(
    node: FakeNode,
) -> None:
    await node.assign(pod())
    first = (await node.containers())["app/0"]
    await node.end(first.id, 1)
    second = (await node.containers())["app/1"]
    assert second.state == "running"
    await node.end(second.id, 1)
    [status] = node.master.last(UID).containerStatuses
    assert status.state.waiting is not None
    assert status.state.waiting.reason == "CrashLoopBackOff"
    assert set(await node.containers()) == {"app/0", "app/1"}
    await node.wait(11)
    assert set(await node.containers()) == {"app/1", "app/2"}
    assert node.master.last(UID).containerStatuses[0].restartCount == 2


async def test_the_files_of_an_attempt_go_with_its_container(
    node: FakeNode, tmp_path: Path
) -> None:
    await node.assign(pod())
    logs = tmp_path / "logs" / f"default_web_{UID}" / "app"
    for name in ("0.log", "0.log.20300101", "1.log"):
        (logs / name).touch()
    for _ in range(2):
        await node.end(max((await node.containers()).values(), key=lambda c: c.attempt).id, 1)
        await node.wait(11)
    assert set(await node.containers()) == {"app/1", "app/2"}
    assert [file.name for file in logs.iterdir()] == ["1.log"]
    messages = (tmp_path / "pods" / UID / "containers" / "app").iterdir()
    assert {file.name for file in messages} == {"1.termination", "2.termination"}


async def test_a_program_that_is_not_there_backs_off(node: FakeNode) -> None:
    await node.assign(pod(containers=[container(command=ABSENT)]))
    await node.wait(65)
    [status] = node.master.last(UID).containerStatuses
    assert status.state.waiting is not None
    assert status.state.waiting.reason == "CrashLoopBackOff"
    assert status.lastState.terminated is not None
    assert status.lastState.terminated.reason == "StartError"
    assert status.restartCount == 3, "at 0 s, 0 s, 10 s, 30 s; the next at 70 s"
    logged = node.kubelet.log_of(UID, "app", previous=False)
    assert logged is not None
    assert logged.attempt == 3


async def test_an_image_that_cannot_be_had_backs_off_and_is_taken_when_it_comes(
    node: FakeNode,
) -> None:
    absent = pod(containers=[container(image="localhost/later:1")])
    await node.assign(absent)
    waiting = node.master.last(UID).containerStatuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "ErrImagePull"
    await node.wait(15)
    waiting = node.master.last(UID).containerStatuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "ImagePullBackOff"
    node.runtime.add_images("localhost/later:1")
    await node.wait(20)
    assert node.master.last(UID).phase == "Running"


async def test_init_containers_run_first_and_once(node: FakeNode) -> None:
    first = container("first", command=ENDS)
    await node.assign(pod(initContainers=[first]))
    assert node.master.last(UID).phase == "Running"
    started = [call for call in node.runtime.calls if call.startswith("start_container")]
    assert [call.split("-")[-2] for call in started] == ["first", "app"]


async def test_init_containers_run_again_in_a_new_sandbox_and_not_for_a_new_kubelet(
    node: FakeNode,
) -> None:
    one = pod(initContainers=[container("first", command=ENDS)])
    await node.assign(one)
    one.status = node.master.last(UID)
    await node.restart()
    await node.wait(30)
    assert set(await node.containers()) == {"first/0", "app/0"}
    await node.stop()
    node.sandbox.sandboxes.clear()  # a reboot
    await node.end((await node.containers())["app/0"].id, 255)
    node.runtime.programs[ENDS] = Program()
    await node.start()
    first = (await node.containers())["first/1"]
    assert first.state == "running"
    assert "app/1" not in await node.containers()
    status = node.master.last(UID)
    assert status.phase == "Running"
    assert not conditions.is_true(status.conditions, "Initialized")
    await node.restart()
    assert set(await node.containers()) == {"first/0", "first/1", "app/0"}
    await node.end(first.id, 0)
    assert (await node.containers())["app/1"].state == "running"
    assert conditions.is_true(node.master.last(UID).conditions, "Initialized")
    await node.restart()
    await node.wait(30)
    assert set(await node.containers()) == {"first/0", "first/1", "app/0", "app/1"}


@pytest.mark.parametrize(("command", "phase"), [(ENDS, "Succeeded"), (FAILS, "Failed")])
async def test_a_pod_that_is_to_run_once_ends(
    node: FakeNode, command: tuple[str, ...], phase: str
) -> None:
    await node.assign(pod(restartPolicy="Never", containers=[container(command=command)]))
    assert node.master.last(UID).phase == phase
    await node.wait(700)
    assert node.master.last(UID).phase == phase
    assert set(await node.containers()) == {"app/0"}


async def test_of_a_pod_that_ended_only_containers_logs_and_files_are_kept(
    node: FakeNode, tmp_path: Path
) -> None:
    volume = {"name": "v", "emptyDir": {}}
    ended = pod(restartPolicy="Never", containers=[container(command=ENDS)], volumes=[volume])
    await node.assign(ended)
    assert await node.sandbox.list() == []
    assert not (tmp_path / "pods" / UID / "volumes").exists()
    [message] = (tmp_path / "pods" / UID).glob("containers/app/*")
    assert set(await node.containers()) == {"app/0"}
    status = node.master.last(UID)
    assert (status.phase, status.podIP) == ("Succeeded", "10.42.1.2")
    await node.restart()
    assert await node.sandbox.list() == [], "though what is on disk says that the pod is Pending"
    assert node.master.last(UID).phase == "Succeeded"
    ended.status = status
    await node.restart()
    assert node.master.last(UID).podIP == "10.42.1.2"
    ended.metadata.deletionTimestamp = "2030-01-01T00:00:30Z"  # type: ignore[assignment]
    await node.assign(ended)
    assert node.master.gone == [UID]
    assert node.master.last(UID).podIP == "10.42.1.2"
    assert not message.exists()
    assert not list(tmp_path.glob("logs/*"))


async def test_pods_that_ended_leave_their_addresses_to_others(node: FakeNode) -> None:
    once = [
        pod(
            metadata={"uid": f"u{n}", "name": f"once-{n}"},
            restartPolicy="Never",
            containers=[container(command=ENDS)],
        )
        for n in range(12)
    ]
    for one in once:
        await node.assign(one)
        await node.wait(11)
    await node.assign(pod())
    assert node.master.last(UID).phase == "Running"
    assert not [reason for reason, _ in node.events if reason == "FailedCreatePodSandBox"]


async def test_a_field_that_is_not_supported_starts_nothing(node: FakeNode) -> None:
    devices = [{"name": "v", "devicePath": "/dev/x"}]
    await node.assign(pod(containers=[container(volumeDevices=devices)]))
    waiting = node.master.last(UID).containerStatuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "CreateContainerConfigError"
    assert "volumeDevices" in waiting.message
    assert node.runtime.changes() == []


async def test_a_restart_of_the_kubelet_changes_no_container(node: FakeNode) -> None:
    ended = pod(
        restartPolicy="Never",
        containers=[container(command=ENDS)],
        metadata={"uid": "u2", "name": "once"},
    )
    await node.assign(pod(), ended)
    first = (await node.containers())["app/0"]
    await node.end(next(c.id for c in (await all_of(node)) if c.pod_uid == UID), 1)
    before, changes = await all_of(node), node.runtime.changes()
    assert first
    for _ in range(3):
        await node.restart()
        await node.wait(30)
    assert node.runtime.changes() == changes
    assert await all_of(node) == before
    status = node.master.last(UID)
    assert status.containerStatuses[0].restartCount == 1
    assert status.podIP == node.master.reports[UID][-2].podIP


async def all_of(node: FakeNode) -> list[object]:
    """Every container, whatever its name."""
    calls = list(node.runtime.calls)
    found = await node.runtime.list_containers()
    node.runtime.calls[:] = calls
    return list(found)


async def test_podman_away_at_the_kubelets_start_starts_nothing_twice(node: FakeNode) -> None:
    await node.assign(pod())
    await node.end((await node.containers())["app/0"].id, 1)
    await node.stop()
    node.runtime.available = False
    await node.start()
    await node.wait(25)
    node.runtime.available = True
    await node.wait(25)
    running = [s for s in (await node.containers()).values() if s.state == "running"]
    assert [status.attempt for status in running] == [1]
    assert node.master.last(UID).podIP == "10.42.1.2"


async def test_a_start_whose_answer_is_lost_is_not_taken_twice(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[str] = []
    start = node.runtime.start_container

    async def lossy(container_id: str) -> None:
        await start(container_id)
        starts.append(container_id)
        if len(starts) == 1:
            raise RuntimeUnavailable("the connection was cut")

    monkeypatch.setattr(node.runtime, "start_container", lossy)
    await node.assign(pod(restartPolicy="Never", containers=[container(command=FAILS)]))
    ran = (await node.containers())["app/0"]
    await node.wait(3)
    assert node.master.last(UID).phase == "Failed"
    assert (await node.containers())["app/0"] == ran


async def test_podman_away_leaves_containers_and_marks_the_node(node: FakeNode) -> None:
    await node.assign(pod())
    node.runtime.available = False
    await node.wait(45)
    assert b"container runtime is down" in node.master.nodes[-1]
    node.runtime.available = True
    await node.wait(1)
    assert b"kubelet is posting ready status" in node.master.nodes[-1], "told at once"
    assert node.master.last(UID).containerStatuses[0].restartCount == 0


async def test_a_blink_of_podman_leaves_the_node_ready(node: FakeNode) -> None:
    """Its pods run on, and would be evicted for nothing."""
    await node.assign(pod())
    for _ in range(3):
        node.runtime.available = False
        await node.wait(25)
        node.runtime.available = True
        await node.wait(1)
    assert not any(b"container runtime is down" in told for told in node.master.nodes)


async def test_what_is_not_assigned_is_stopped_only_after_the_master_has_said_all(
    node: FakeNode,
) -> None:
    await node.assign(pod())
    await node.stop()
    node.assigned.clear()
    await node.start(synced=False)
    await node.wait(60)
    assert (await node.containers())["app/0"].state == "running"
    node.kubelet.synced(set())
    await node.wait(60)
    assert await node.containers() == {}
    assert await node.sandbox.list() == []


async def test_directories_that_a_dead_kubelet_left_go_after_the_master_has_said_all(
    node: FakeNode, tmp_path: Path
) -> None:
    """It died between removing the sandbox and removing the rest, and the pod's object went."""
    pods, logs = tmp_path / "pods", tmp_path / "logs"
    ours = [pods / UID / "volumes" / "data", logs / f"default_web_{UID}" / "app"]
    theirs = [pods / "lost+found", pods / UID.upper(), pods / f"{UID}.old", logs / "a_b_c"]
    elsewhere = tmp_path / "elsewhere"
    for directory in (*ours, *theirs, elsewhere):
        directory.mkdir(parents=True)
    link = pods / UID.replace("6a", "6b")
    link.symlink_to(elsewhere)
    await node.stop()
    await node.start(synced=False)
    await node.wait(60)
    assert [directory.exists() for directory in ours] == [True, True]
    node.kubelet.synced(set())
    await node.wait(60)
    assert list(logs.iterdir()) == [logs / "a_b_c"]
    assert set(pods.iterdir()) == {*theirs[:3], link}
    assert elsewhere.is_dir()
    assert node.master.gone == []


async def test_the_directories_of_an_assigned_pod_stay(node: FakeNode, tmp_path: Path) -> None:
    await node.assign(pod(volumes=[{"name": "data", "emptyDir": {}}]))
    kept = tmp_path / "pods" / UID / "volumes" / "data" / "kept"
    kept.touch()
    await node.restart()
    await node.wait(60)
    assert kept.exists()


async def test_an_address_of_a_pod_that_is_not_known_yet_is_not_given_to_another(
    node: FakeNode,
) -> None:
    await node.assign(pod())
    await node.stop()
    node.assigned.clear()
    await node.start(synced=False)
    await node.assign(pod(metadata={"uid": "u2", "name": "other"}))
    assert node.master.last("u2").podIP == "10.42.1.3"


async def test_without_an_address_a_pod_waits_and_never_gets_the_machines_network(
    node: FakeNode,
) -> None:
    pods = [pod(metadata={"uid": f"u{n}", "name": f"web-{n}"}) for n in range(6)]
    await node.assign(*pods)
    status = node.master.last("u5")
    assert status.phase == "Pending"
    assert len(await node.sandbox.list()) == 5
    assert all(sandbox.address for sandbox in await node.sandbox.list())
    assert any(reason == "FailedCreatePodSandBox" for reason, _ in node.events)
    await node.remove("u0")
    await node.wait(120)
    assert node.master.last("u5").phase == "Running"


async def test_a_container_that_somebody_starts_by_hand_is_logged_and_taken_as_it_is(
    node: FakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    await node.assign(pod(restartPolicy="Never"))
    first = (await node.containers())["app/0"]
    await node.end(first.id, 1)
    node.processes.gone.clear()
    node.runtime._change(first.id, state="running", pid=first.pid, finished_at="")
    await node.wait(11)
    [line] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.__dict__["object"] == "default/web"
    assert line.__dict__["error"] == "container app, attempt 0: exited -> running"
    assert node.master.last(UID).phase == "Failed", "a pod that has ended stays as it ended"


async def test_a_process_that_went_with_its_monitor_is_restarted(node: FakeNode) -> None:
    await node.assign(pod())
    lost = (await node.containers())["app/0"]
    node.runtime.check_invariants = lambda: None  # it takes both for running
    node.processes.end(lost.id)
    await node.wait(3)
    found = await node.containers()
    assert found["app/1"].state == "running"
    [status] = node.master.last(UID).containerStatuses
    assert status.lastState.terminated is not None
    assert status.lastState.terminated.exitCode == 137


async def test_nothing_is_left_of_a_pod_after_a_reboot_and_its_removal(
    node: FakeNode, tmp_path: Path
) -> None:
    await node.assign(pod(volumes=[{"name": "v", "emptyDir": {}}]))
    assert (tmp_path / "pods" / UID).exists()
    await node.stop()
    node.sandbox.sandboxes.clear()
    node.assigned.clear()
    for status in (await node.containers()).values():
        await node.end(status.id, 137)
    await node.start()
    await node.wait(60)
    assert await node.containers() == {}
    assert not (tmp_path / "pods" / UID).exists()


async def test_a_config_map_that_goes_keeps_no_container_down(
    node: FakeNode, tmp_path: Path
) -> None:
    one = pod(volumes=[{"name": "v", "configMap": {"name": "settings"}}])
    found = b'{"metadata": {"name": "settings", "resourceVersion": "7"}, "data": {"a": "1"}}'
    await node.assign(one)
    assert await node.containers() == {}, "it was never there"
    told = node_v1_pb2.PodAssignment(pod=codec.encode(one), config_maps=[found])
    node.kubelet.assign(told)
    await node.settle()
    first = (await node.containers())["app/0"]
    await node.assign(one)
    await node.end(first.id, 1)
    assert (await node.containers())["app/1"].state == "running"
    assert (tmp_path / "pods" / UID / "volumes" / "v" / "a").read_text() == "1"
    failed = [text for reason, text in node.events if reason == "FailedMount"]
    await node.wait(31)
    again = [text for reason, text in node.events if reason == "FailedMount"]
    assert len(again) == len(failed) + 2, "after 10 s and 20 s"


async def test_a_registry_that_hangs_stops_no_other_pod(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*args: object, **keywords: object) -> None:
        await node.clock.sleep(10_000)

    monkeypatch.setattr(type(node.runtime), "pull_image", hang)
    slow = [
        pod(
            metadata={"uid": f"u{n}", "name": f"slow-{n}"},
            hostNetwork=True,
            containers=[container(image="localhost/far:1")],
        )
        for n in range(4)
    ]
    await node.assign(pod())
    await node.assign(*slow)
    await node.end((await node.containers())["app/0"].id, 1)
    deleted = {"deletionTimestamp": "2030-01-01T00:00:01Z", "deletionGracePeriodSeconds": 1}
    await node.assign(pod(metadata=deleted))
    await node.wait(5)
    assert node.master.gone == [UID]


FAR = "localhost/far:1"


@pytest.fixture
def pulling(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The images that are being pulled; none of them ever comes."""
    now: set[str] = set()

    async def hang(reference: str, **keywords: object) -> None:
        now.add(reference)
        try:
            await node.clock.sleep(10_000)
        finally:
            now.remove(reference)

    monkeypatch.setattr(node.runtime, "pull_image", hang)
    return now


async def test_a_pull_that_hangs_keeps_no_other_container_and_no_deletion_waiting(
    node: FakeNode, pulling: set[str]
) -> None:
    fields = {"containers": [container(command=STOPS_ON_TERM), container("far", image=FAR)]}
    await node.assign(pod(**fields))
    await node.end((await node.containers())["app/0"].id, 1)
    assert (await node.containers())["app/1"].state == "running"
    assert pulling == {FAR}
    waiting = node.master.last(UID).containerStatuses[1].state.waiting
    assert waiting is not None
    assert waiting.reason == "ContainerCreating"
    await node.restart()
    assert pulling == {FAR}, "by the new kubelet alone"
    deleted = {"deletionTimestamp": "2030-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
    await node.assign(pod(**fields, metadata=deleted))
    assert node.master.gone == [UID]
    assert pulling == set()
    assert len([text for reason, text in node.events if reason == "Pulling"]) == 2


async def test_another_image_is_not_kept_waiting_by_one_that_hangs(
    node: FakeNode, pulling: set[str]
) -> None:
    await node.assign(pod(containers=[container(image=FAR)]))
    assert pulling == {FAR}
    await node.assign(pod())
    assert pulling == set()
    assert node.master.last(UID).phase == "Running"


async def test_another_image_does_not_wait_for_what_one_has_failed_at(node: FakeNode) -> None:
    await node.assign(pod(containers=[container(image=FAR)]))
    await node.wait(200)
    waiting = node.master.last(UID).containerStatuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "ImagePullBackOff"
    await node.assign(pod())
    assert node.master.last(UID).phase == "Running"


OLD, NEW = ("ann", "old"), ("ann", "new")


@pytest.fixture
def tried(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str] | None]:
    """The logins that a registry has been asked with; it knows NEW."""
    seen: list[tuple[str, str] | None] = []
    pull = node.runtime.pull_image

    async def asked(reference: str, *, credentials: tuple[str, str] | None = None) -> None:
        seen.append(credentials)
        if credentials != NEW:
            raise ImagePullFailed(f"unauthorized: {credentials}")
        await pull(reference, credentials=credentials)

    monkeypatch.setattr(node.runtime, "pull_image", asked)
    node.runtime.registry[FAR] = node.runtime.images[container()["image"]]
    return seen


def with_logins(*logins: tuple[str, str]) -> node_v1_pb2.PodAssignment:
    """A pod of FAR, with a Secret for each login."""
    secrets = []
    for n, (username, password) in enumerate(logins):
        auths = {"localhost": {"username": username, "password": password}}
        secret = Secret(data={".dockerconfigjson": json.dumps({"auths": auths}).encode()})
        secret.metadata.name = f"s{n}"
        secrets.append(codec.encode(secret))
    names = [{"name": f"s{n}"} for n in range(len(logins))]
    one = pod(containers=[container(image=FAR)], imagePullSecrets=names)
    return node_v1_pb2.PodAssignment(pod=codec.encode(one), secrets=secrets)


async def test_a_login_that_is_refused_is_followed_by_the_next(
    node: FakeNode, tried: list[tuple[str, str] | None]
) -> None:
    node.kubelet.assign(with_logins(OLD, NEW, OLD))
    await node.settle()
    assert tried == [OLD, NEW]
    assert node.master.last(UID).phase == "Running"
    assert [reason for reason, _ in node.events].count("Pulling") == 1


@pytest.mark.parametrize(
    ("logins", "asked_with", "said"),
    [
        ((), [None], "unauthorized: None"),
        ((OLD,), [OLD], f"unauthorized: {OLD}"),
        ((OLD, OLD), [OLD, OLD], f"unauthorized: {OLD}"),
        ((OLD, ("b", "")), [OLD, ("b", "")], f"[unauthorized: {OLD}, unauthorized: ('b', '')]"),
    ],
)
async def test_what_every_login_was_answered_is_told(
    node: FakeNode,
    tried: list[tuple[str, str] | None],
    logins: list[tuple[str, str]],
    asked_with: list[tuple[str, str] | None],
    said: str,
) -> None:
    node.kubelet.assign(with_logins(*logins))
    await node.settle()
    assert tried == asked_with
    waiting = node.master.last(UID).containerStatuses[0].state.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("ErrImagePull", said)


async def test_podman_away_at_a_pull_is_asked_again(node: FakeNode) -> None:
    node.runtime.registry[FAR] = node.runtime.images[container()["image"]]
    node.runtime.faults[len(node.runtime.calls) + 1] = RuntimeUnavailable("connection refused")
    await node.assign(pod(containers=[container(image=FAR)]))
    assert node.runtime.changes() == []
    await node.wait(3)
    assert node.master.last(UID).phase == "Running"


@pytest.mark.parametrize("call", ["image_status", "pull_image"])
async def test_a_name_that_no_image_can_have_is_told(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async def refuse(reference: str, **keywords: object) -> None:
        raise InvalidImageName("invalid reference format")

    monkeypatch.setattr(node.runtime, call, refuse)
    await node.assign(pod(containers=[container(image=FAR)]))
    waiting = node.master.last(UID).containerStatuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "InvalidImageName"
    reasons = [reason for reason, _ in node.events if reason != "Pulling"]
    assert reasons == ["InspectFailed", "Failed"]


async def test_a_crash_loop_is_told_as_an_event_once_a_wait(node: FakeNode) -> None:
    await node.assign(pod(containers=[container(command=FAILS)]))
    await node.wait(9)
    told = [text for reason, text in node.events if reason == "BackOff"]
    assert told == [f"Back-off restarting failed container app in pod web_default({UID})"]
    await node.wait(2)
    assert len([reason for reason, _ in node.events if reason == "BackOff"]) == 2


async def test_a_phase_that_someone_else_wrote_is_set_right(node: FakeNode) -> None:
    await node.assign(pod())
    count = len(node.master.reports[UID])
    await node.assign(pod(status={"phase": "Nonsense"}))
    assert len(node.master.reports[UID]) == count + 1
    assert node.master.last(UID).phase == "Running"
    deleted = {"deletionTimestamp": "2030-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}
    await node.assign(pod(status={"phase": "Nonsense"}, metadata=deleted))
    await node.wait(3)
    assert node.master.gone == [UID]


@pytest.mark.parametrize("policy", ["Always", "Never"])
async def test_a_container_whose_image_changes_is_made_anew(node: FakeNode, policy: str) -> None:
    before = container(command=STOPS_ON_TERM)
    await node.assign(pod(containers=[before], restartPolicy=policy))
    node.runtime.images["localhost/demo:2"] = node.runtime.images[before["image"]]
    after = {**before, "image": "localhost/demo:2"}
    await node.assign(pod(containers=[after], restartPolicy=policy))
    running = [s for s in (await node.containers()).values() if s.state == "running"]
    assert [(s.attempt, s.asked_image) for s in running] == [(1, "localhost/demo:2")]
    [status] = node.master.last(UID).containerStatuses
    assert (status.image, status.restartCount) == ("localhost/demo:2", 1)
    told = [text for reason, text in node.events if reason == "Killing"]
    assert told == ["Container app definition changed, will be restarted"]


async def test_a_runtime_that_is_away_for_an_image_is_one_line_of_the_log(
    node: FakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "node.kubelet.effects.executor")
    node.runtime.image_status = away  # type: ignore[method-assign]
    await node.assign(pod())
    [line] = caplog.records
    assert (line.levelname, line.exc_info) == ("WARNING", None)
    assert line.__dict__["object"] == "default/web"
    assert line.__dict__["error"] == "Podman is away"


async def away(reference: str) -> None:
    """No answer."""
    raise RuntimeUnavailable("Podman is away")
