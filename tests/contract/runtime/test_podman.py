"""What only a real Podman can show."""

import asyncio
import contextlib
import os
import re
from pathlib import Path

import msgspec
import pytest

from node.kubelet.streams.logs import LogQuery, Reader
from node.runtime import base, podman_json
from node.runtime.base import UNCONFINED, CreateFailed, ImageNotFound, Mount
from node.runtime.podman import PodmanRuntime
from tests.contract.runtime.conftest import a_spec, eventually, podman_driver
from tests.fakes.hostile import pod as hostile_pod
from tests.servers.podman import TEST_IMAGE, Podman

pytestmark = pytest.mark.podman
_WAIT_SECONDS = 20.0
CRI_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) (stdout|stderr) [FP] (.*)")


def has_ended(status: base.ContainerStatus) -> bool:
    return status.state == "exited"


async def run(runtime: PodmanRuntime, script: str, **fields: object) -> str:
    """Run a script in a container to its end; what it wrote to its log, line by line."""
    spec = a_spec(command=("/bin/sh", "-c", script), **fields)
    container_id = await runtime.create_container(spec)
    await runtime.start_container(container_id)
    await eventually(runtime, container_id, has_ended)
    found = [CRI_LINE.fullmatch(line) for line in Path(spec.log_path).read_text().splitlines()]
    assert all(found), Path(spec.log_path).read_text()
    return "\n".join(match[2] for match in found if match)


async def stays_untouched(podman: Podman, runtime: PodmanRuntime, container_id: str) -> None:
    """A running container is not listed, and every call about it is refused."""
    assert container_id not in [status.id for status in await runtime.list_containers()]
    for call in (
        runtime.start_container(container_id),
        runtime.signal_container(container_id, "KILL"),
        runtime.remove_container(container_id),
        runtime.container_status(container_id),
        runtime.exec_sync(container_id, ("/bin/true",), timeout_seconds=1),
    ):
        with pytest.raises(base.NotOurs):
            await call
    assert await podman.run("inspect", "--format", "{{.State.Status}}", container_id) == "running"


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {base.LABEL_POD_UID: "evil"},
        {base.LABEL_POD_UID: ".."},
        a_spec().labels,
        {**a_spec().labels, base.LABEL_ATTEMPT: "x"},
    ],
)
async def test_a_container_made_by_hand_is_never_listed_and_never_touched(
    podman: Podman, podman_runtime: PodmanRuntime, labels: dict[str, str]
) -> None:
    ours = await podman_runtime.create_container(a_spec())
    options = [f"--label={key}={value}" for key, value in labels.items()]
    theirs = await podman.run(
        *("run", "--detach", "--network=host", *options, TEST_IMAGE, "sleep", "1000")
    )
    await stays_untouched(podman, podman_runtime, theirs)
    assert [status.id for status in await podman_runtime.list_containers()] == [ours]


async def test_a_container_of_an_image_that_was_committed_from_ours_is_not_ours(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    ours = await podman_runtime.create_container(a_spec())
    await podman.run("commit", "--quiet", ours, "localhost/committed:1")
    theirs = await podman.run("run", "--detach", "--network=host", "localhost/committed:1")
    await stays_untouched(podman, podman_runtime, theirs)


async def test_a_container_of_ours_that_was_renamed_is_not_touched_any_more(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    ours = await podman_runtime.create_container(a_spec())
    await podman_runtime.start_container(ours)
    assert [status.id for status in await podman_runtime.list_containers()] == [ours]
    await podman.run("rename", ours, "kept")
    await stays_untouched(podman, podman_runtime, ours)


async def test_a_name_taken_by_hand_is_refused(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    name = a_spec().runtime_name
    await podman.run("create", "--network=host", "--name", name, TEST_IMAGE, "true")
    with pytest.raises(base.NotOurs):
        await podman_runtime.create_container(a_spec())


async def test_the_log_is_in_cri_format(podman: Podman, podman_runtime: PodmanRuntime) -> None:
    path = podman.directory / "pods" / "default_web_uid" / "app" / "0.log"
    said = await run(podman_runtime, "echo one; echo two >&2; printf three", log_path=str(path))
    assert sorted(said.splitlines()) == ["one", "three", "two"]
    marks = [line.split(" ", 3)[1:] for line in path.read_text().splitlines()]
    assert ["stdout", "F", "one"] in marks
    assert ["stderr", "F", "two"] in marks
    assert ["stdout", "P", "three"] in marks


async def test_the_stop_signal_is_the_images(podman: Podman, podman_runtime: PodmanRuntime) -> None:
    made = await podman.run("create", "--network=none", TEST_IMAGE, "/bin/true")
    image = "localhost/wherry-stop:1"
    await podman.run("commit", "--change", "STOPSIGNAL SIGUSR1", made, image)
    plain = await podman_runtime.create_container(a_spec())
    own = await podman_runtime.create_container(a_spec("own", image=image))
    found = {status.id: status.stop_signal for status in await podman_runtime.list_containers()}
    assert found == {plain: "TERM", own: "USR1"}


async def test_a_full_log_is_replaced_and_who_follows_it_misses_nothing(
    podman: Podman, podman_runtime: PodmanRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 16 << 10
    monkeypatch.setattr(podman_json, "LOG_MAX_BYTES", limit)
    shared, path = podman.directory / "shared", podman.directory / "full.log"
    shared.mkdir()
    os.mkfifo(shared / "in")
    mounts = (Mount(str(shared), "/data"),)
    spec = a_spec(command=("/bin/cat", "/data/in"), mounts=mounts, log_path=str(path))
    await podman_runtime.start_container(await podman_runtime.create_container(spec))
    lines = [f"line {n}\n" for n in range(2000)]
    reader, heard = await _opened(path), b""
    writer = os.open(shared / "in", os.O_RDWR)  # which does not wait until the other end is open
    async with asyncio.timeout(_WAIT_SECONDS):
        for n in range(0, len(lines), 100):  # in the log they take a third of a file
            os.write(writer, "".join(lines[n : n + 100]).encode())
            while heard.count(b"\n") < n + 100:
                heard += reader.read()
                await asyncio.sleep(0.01)
            assert path.stat().st_size <= limit
    os.close(writer)
    reader.close()
    assert heard.decode() == "".join(lines)
    assert "line 0\n" not in path.read_text()


async def _opened(path: Path) -> Reader:
    """A follower of a log, once it is there."""
    query = LogQuery(follow=True, timestamps=False, tail_lines=-1, since_ms=0, limit_bytes=0)
    while not path.exists():
        await asyncio.sleep(0.01)
    return Reader(path, query)


async def test_a_container_gets_what_its_spec_says(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    shared = podman.directory / "shared"
    shared.mkdir()
    said = await run(
        podman_runtime,
        'echo "$GREETING"; id -u; id -g; id -G; cd ..; pwd; '
        "cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max; "
        "for file in /new /data/new; do (echo x > $file) 2>/dev/null || echo refused; done; "
        "cat /proc/self/status | while read k v; do [ $k = NoNewPrivs: ] && echo $v; done; :",
        env={"GREETING": "hello world"},
        user="1000:1001",
        groups=("2000",),
        working_dir="/tmp",
        read_only_root=True,
        no_new_privileges=True,
        mounts=(Mount(str(shared), "/data", read_only=True),),
        log_path=str(podman.directory / "spec.log"),
    )
    assert said.splitlines() == [
        *("hello world", "1000", "1001", "1001 2000", "/", "4096"),
        *("refused", "refused", "1"),
    ]
    assert list(shared.iterdir()) == []


async def test_a_container_that_forks_without_end_stops_at_its_limit(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    """Catalogue row C18: every pod has a limit, so that others still find a process."""
    said = await run(
        podman_runtime,
        hostile_pod.FORKS + "echo all",
        pids_limit=20,
        log_path=str(podman.directory / "forks.log"),
    )
    assert "all" not in said
    assert await podman_runtime.version()


async def test_a_name_without_a_registry_is_never_the_machines_own(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    """Podman would take `localhost/` first: what runs would depend on the node."""
    assert TEST_IMAGE == "localhost/wherry-test:1"
    assert await podman_runtime.image_status(TEST_IMAGE)
    assert await podman_runtime.image_status("wherry-test:1") is None
    with pytest.raises(ImageNotFound):
        await podman_runtime.create_container(a_spec(image="wherry-test:1"))
    await podman.run("tag", TEST_IMAGE, "docker.io/library/wherry-test:1")
    assert await podman_runtime.image_status("wherry-test:1")
    container_id = await podman_runtime.create_container(a_spec(image="wherry-test:1"))
    status = await podman_runtime.container_status(container_id)
    assert status is not None
    assert (status.image, status.asked_image) == (
        "docker.io/library/wherry-test:1",
        "wherry-test:1",
    )


@pytest.mark.parametrize(("profile", "mode"), [("", "2"), (UNCONFINED, "0")])
async def test_system_calls_are_filtered_unless_the_spec_says_no(
    podman: Podman, podman_runtime: PodmanRuntime, profile: str, mode: str
) -> None:
    said = await run(
        podman_runtime,
        "cat /proc/self/status | while read k v; do [ $k = Seccomp: ] && echo $v; done; :",
        seccomp_profile=profile,
        log_path=str(podman.directory / "seccomp.log"),
    )
    assert said.split() == [mode]


async def test_system_calls_are_filtered_by_a_profile_of_the_machine(
    podman: Podman, podman_runtime: PodmanRuntime, tmp_path: Path
) -> None:
    profile, log_path = tmp_path / "no-mkdir.json", str(podman.directory / "profile.log")
    no_mkdir = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile.write_bytes(
        msgspec.json.encode({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [no_mkdir]})
    )
    script = "mkdir /x 2>/dev/null || echo refused"
    said = await run(podman_runtime, script, seccomp_profile=str(profile), log_path=log_path)
    assert said.split() == ["refused"]
    with pytest.raises(CreateFailed, match=r"missing\.json"):
        await podman_runtime.create_container(
            a_spec(attempt=1, seccomp_profile=str(tmp_path / "missing.json"))
        )


async def test_a_container_runs_with_the_runtime_that_is_asked_for_or_not_at_all(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    own = (await podman.run("info", "--format", "{{.Host.OCIRuntime.Name}}")).strip()
    container_id = await podman_runtime.create_container(a_spec(oci_runtime=own))
    assert (await podman.run("inspect", "--format", "{{.OCIRuntime}}", container_id)).strip() == own
    with pytest.raises(CreateFailed, match="not with no-such"):
        await podman_runtime.create_container(a_spec(attempt=1, oci_runtime="no-such"))
    assert [status.id for status in await podman_runtime.list_containers()] == [container_id]


async def test_a_container_that_ended_outlives_what_it_shared_with_others(
    podman_runtime: PodmanRuntime, tmp_path: Path
) -> None:
    """The sandbox of a pod that has ended goes before its containers."""
    pins = [tmp_path / name for name in ("net", "ipc", "uts")]
    for pin in (*pins, tmp_path / "hosts"):
        pin.touch()
    await command("unshare", *(f"--{pin.name}={pin}" for pin in pins), "true")
    spec = a_spec(
        command=("/bin/sh", "-c", "exit 3"),
        netns_path=str(pins[0]),
        ipcns_path=str(pins[1]),
        utsns_path=str(pins[2]),
        mounts=[Mount(str(tmp_path / "hosts"), "/etc/hosts")],
    )
    container_id = await podman_runtime.create_container(spec)
    await podman_runtime.start_container(container_id)
    ended = await eventually(podman_runtime, container_id, has_ended)
    await command("umount", "-l", *map(str, pins))
    for path in tmp_path.iterdir():
        path.unlink()
    assert await podman_runtime.container_status(container_id) == ended
    assert await podman_runtime.list_containers() == [ended]
    await podman_runtime.remove_container(container_id)
    assert await podman_runtime.list_containers() == []


async def command(*words: str) -> None:
    """Run a program of the machine."""
    process = await asyncio.create_subprocess_exec(*words)
    assert await process.wait() == 0, words


async def test_limits_reach_the_cgroup(podman: Podman, podman_runtime: PodmanRuntime) -> None:
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("reads the files of cgroup v1")
    said = await run(
        podman_runtime,
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares "
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        memory_limit_bytes=32 << 20,
        cpu_shares=204,
        cpu_quota_us=50_000,
        log_path=str(podman.directory / "limits.log"),
    )
    assert said.split() == [str(32 << 20), "204", "50000"]


async def test_what_a_container_writes_outside_of_volumes_can_be_measured(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    command = ("/bin/sh", "-c", "echo some > /written; sleep 1000")
    log = str(podman.directory / "layer.log")
    container_id = await podman_runtime.create_container(a_spec(command=command, log_path=log))
    await podman_runtime.start_container(container_id)
    [status] = await podman_runtime.list_containers()
    if not status.layer_path:
        pytest.skip("Podman stores images without overlay")
    written = Path(status.layer_path) / "written"
    async with asyncio.timeout(20):
        while not written.exists() or written.read_text() != "some\n":
            await asyncio.sleep(0.02)


async def test_a_working_directory_that_the_image_lacks_is_made(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    log = str(podman.directory / "workdir.log")
    said = await run(podman_runtime, "pwd", working_dir="/srv/app", log_path=log)
    assert said.strip() == "/srv/app"


async def test_the_oom_score_reaches_the_process(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    said = await run(
        podman_runtime,
        "cat /proc/self/oom_score_adj",
        oom_score_adj=750,
        log_path=str(podman.directory / "score.log"),
    )
    assert said.strip() == "750"


async def test_a_kill_for_memory_is_told(podman: Podman, podman_runtime: PodmanRuntime) -> None:
    spec = a_spec(command=("/bin/tail", "/dev/zero"), memory_limit_bytes=8 << 20)
    container_id = await podman_runtime.create_container(spec)
    await podman_runtime.start_container(container_id)
    ended = await eventually(podman_runtime, container_id, has_ended)
    if not os.access("/dev/kmsg", os.R_OK):
        pytest.skip("the kernel's log cannot be read here")
    assert (ended.exit_code, ended.oom_killed) == (137, True)


async def test_containers_outlive_the_service_and_a_new_one_adopts_them(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    container_id = await podman_runtime.create_container(a_spec())
    await podman_runtime.start_container(container_id)
    [before] = await podman_runtime.list_containers()
    await podman.kill()
    with pytest.raises(base.RuntimeUnavailable):
        await podman_runtime.list_containers()
    with pytest.raises(base.RuntimeUnavailable):
        await podman_runtime.create_container(a_spec(attempt=1))
    await podman.start()
    assert await podman_runtime.list_containers() == [before]
    with podman_driver(podman.socket_path) as another:
        assert await another.list_containers() == [before]


async def test_a_cancelled_call_leaves_no_connection(podman_runtime: PodmanRuntime) -> None:
    call = asyncio.ensure_future(podman_runtime.version())
    await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    assert await podman_runtime.version()


async def test_a_pull_of_which_nothing_is_heard_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 200 OK\r\n\r\n{"stream": "Trying to pull"}\n')
        await reader.read()
        writer.close()
        gone.set()

    monkeypatch.setattr("node.runtime.podman.PULL_SILENCE_SECONDS", 0.2)
    path = str(tmp_path / "s")
    server = await asyncio.start_unix_server(answer, path)
    try:
        with (
            podman_driver(path) as runtime,
            pytest.raises(base.ImagePullFailed, match="no progress"),
        ):
            await runtime.pull_image(TEST_IMAGE)
        await asyncio.wait_for(gone.wait(), 5)
    finally:
        server.close()
        await server.wait_closed()


async def test_a_service_that_ends_in_mid_answer_is_unavailable(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.0 200 OK\r\n\r\n[{"Id": "a')
        writer.close()

    path = str(tmp_path / "s")
    server = await asyncio.start_unix_server(answer, path)
    try:
        with (
            podman_driver(path) as runtime,
            pytest.raises(base.RuntimeUnavailable, match="before it was whole"),
        ):
            await runtime.list_containers()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_container_may_join_the_processes_of_another_that_is_removed_before_it(
    podman: Podman, podman_runtime: PodmanRuntime
) -> None:
    first = await podman_runtime.create_container(a_spec(command=("/bin/sleep", "1234")))
    await podman_runtime.start_container(first)
    status = await podman_runtime.container_status(first)
    assert status is not None
    pidns_path, log_path = f"/proc/{status.pid}/ns/pid", str(podman.directory / "log")
    script = "tr '\\0' ' ' < /proc/1/cmdline; echo"
    said = await run(podman_runtime, script, name="look", pidns_path=pidns_path, log_path=log_path)
    assert said.strip() == "/bin/sleep 1234"
    await podman_runtime.remove_container(first)
    [look] = await podman_runtime.list_containers()
    assert (look.name, look.exit_code) == ("look", 0)
