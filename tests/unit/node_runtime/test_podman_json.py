"""What Podman is sent, and what is read from its answers."""

from pathlib import Path
from typing import Any

import pytest

from node.runtime import base
from node.runtime.base import ContainerSpec, InvalidImageName, Mount
from node.runtime.oom import was_oom_killed
from node.runtime.podman import permitted_oom_score_adj
from node.runtime.podman_json import (
    container_body,
    container_status,
    is_ours,
    is_ours_inspected,
    is_ours_listed,
)
from node.runtime.reference import check_reference

UID = "6a5e7c1e-0000-4000-8000-000000000001"
NAME = f"wherry-{UID}-app-2"
ID = "91f731c2986c3a46c02710804fe5f64fe4b876c1f4d52d21c361f4338a3d8f98"


def body(**fields: Any) -> dict[str, Any]:
    spec = ContainerSpec(
        pod_uid=UID,
        pod_namespace="default",
        pod_name="web",
        name="app",
        attempt=2,
        image="localhost/x:1",
        **fields,
    )
    return container_body(spec)


def test_names_and_labels_tell_pod_container_and_attempt() -> None:
    made = body(resources="{}")
    assert made["name"] == NAME
    assert made["labels"] == {
        "io.wherry.pod.uid": UID,
        "io.wherry.pod.namespace": "default",
        "io.wherry.pod.name": "web",
        "io.wherry.container.name": "app",
        "io.wherry.container.attempt": "2",
        "io.wherry.container.image": "localhost/x:1",
        "io.wherry.container.resources": "{}",
    }


@pytest.mark.parametrize(
    ("command", "args", "sent"),
    [
        ((), (), {}),
        ((), ("a",), {"command": ["a"]}),
        (("c",), (), {"entrypoint": ["c"], "command": []}),
        (("c",), ("a",), {"entrypoint": ["c"], "command": ["a"]}),
    ],
)
def test_command_and_args_override_the_images_as_kubernetes_says(
    command: tuple[str, ...], args: tuple[str, ...], sent: dict[str, list[str]]
) -> None:
    made = body(command=command, args=args)
    assert {key: made[key] for key in ("entrypoint", "command") if key in made} == sent


def test_namespaces_are_joined_by_path_or_the_machines() -> None:
    made = body(netns_path="/p/net", utsns_path="/p/uts", host_pid=True)
    assert made["netns"] == {"nsmode": "path", "value": "/p/net"}
    assert made["utsns"] == {"nsmode": "path", "value": "/p/uts"}
    assert (made["ipcns"], made["pidns"]) == ({"nsmode": "host"}, {"nsmode": "host"})
    assert body()["pidns"] == {"nsmode": "private"}
    assert body(ipcns_path="/p/ipc", host_ipc=True)["ipcns"] == {"nsmode": "host"}


def test_only_given_limits_are_set() -> None:
    assert body()["resource_limits"] == {"pids": {"limit": 4096}}
    limits = body(memory_limit_bytes=1024, cpu_shares=2, cpu_quota_us=5000)["resource_limits"]
    assert limits["memory"] == {"limit": 1024, "swap": 1024}
    assert limits["cpu"] == {"shares": 2, "quota": 5000, "period": 100_000}


def test_a_mount_is_private_unless_asked_for() -> None:
    made = body(mounts=(Mount("/a", "/b", read_only=True), Mount("/c", "/d", False, "rshared")))
    assert [mount["options"] for mount in made["mounts"]] == [
        ["rbind", "ro", "rprivate"],
        ["rbind", "rw", "rshared"],
    ]


@pytest.mark.parametrize(
    ("told", "signal"),
    [(15, "TERM"), (3, "QUIT"), ("SIGUSR1", "USR1"), (37, "37"), (0, "TERM"), (None, "TERM")],
)
def test_the_stop_signal_is_a_number_or_a_name(told: int | str | None, signal: str) -> None:
    config = {"Labels": body()["labels"], "StopSignal": told}
    assert container_status({"Id": ID, "State": {}, "Config": config}).stop_signal == signal


def test_a_state_that_podman_may_invent_is_unknown_and_gos_zero_time_is_none() -> None:
    found = {
        "Id": ID,
        "State": {"Status": "dreaming", "StartedAt": "0001-01-01T00:00:00Z"},
        "Config": {"Labels": body()["labels"]},
    }
    status = container_status(found)
    assert (status.state, status.started_at, status.finished_at) == ("unknown", "", "")


def test_what_is_created_and_has_run_ended_with_the_machine_nobody_knows_when() -> None:
    found = {
        "Id": ID,
        "State": {"Status": "created", "StartedAt": "2030-01-01T00:00:00Z"},
        "Config": {"Labels": body()["labels"]},
    }
    status = container_status(found)
    assert (status.state, status.exit_code, status.lost) == ("exited", 255, True)
    assert (status.started_at, status.finished_at) == ("2030-01-01T00:00:00Z", "")


def test_labels_and_the_name_that_they_tell_make_it_ours() -> None:
    labels = body()["labels"]
    assert is_ours(NAME, labels)
    assert is_ours_listed({"Names": [NAME], "Labels": labels})
    assert is_ours_inspected({"Name": NAME, "Config": {"Labels": labels}})


@pytest.mark.parametrize("name", ["", "happy_fermat", NAME.replace("app", "other"), f"{NAME}0"])
def test_a_container_with_our_labels_and_a_name_of_its_own_is_foreign(name: str) -> None:
    labels = body()["labels"]
    assert not is_ours(name, labels)
    assert not is_ours_listed({"Names": [name], "Labels": labels})
    assert not is_ours_inspected({"Name": name, "Config": {"Labels": labels}})


@pytest.mark.parametrize(
    ("label", "value"),
    [
        *[(base.LABEL_POD_UID, uid) for uid in ("evil", "..", f"{UID}/..", UID.upper(), "")],
        *[(base.LABEL_ATTEMPT, attempt) for attempt in ("x", "", "-1", "1_0", "\u0662")],
        (base.LABEL_CONTAINER, ".."),
        (base.LABEL_POD_NAME, "../../etc"),
        (base.LABEL_POD_NAMESPACE, ".."),
    ],
)
def test_labels_that_are_no_part_of_a_path_are_foreign(label: str, value: str) -> None:
    labels = body()["labels"] | {label: value}
    uid, name, attempt = base.LABEL_POD_UID, base.LABEL_CONTAINER, base.LABEL_ATTEMPT
    assert not is_ours(f"wherry-{labels[uid]}-{labels[name]}-{labels[attempt]}", labels)
    del labels[label]
    assert not is_ours(NAME, labels)


def test_what_has_no_labels_is_foreign() -> None:
    assert not is_ours_listed({"Names": None, "Labels": None})
    assert not is_ours_inspected({"Name": NAME, "Config": {"Labels": None}})


OOM = (
    "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,"
    "oom_memcg={memcg},task_memcg={task},task=tail,pid=7,uid=0\n"
)


@pytest.mark.parametrize(
    ("task", "killed"),
    [
        (f"/libpod_parent/libpod-{ID}", True),
        (f"/machine.slice/libpod-{ID}.scope/container", True),
        ("/libpod_parent/libpod-other", False),
    ],
)
def test_the_kernels_log_names_the_victim(tmp_path: Path, task: str, killed: bool) -> None:
    log = tmp_path / "kmsg"
    text = OOM.format(memcg=f"/libpod_parent/libpod-{ID}", task=task)
    log.write_text(f"6,0,1,-;memory of {ID}\n{text}")
    assert was_oom_killed(ID, str(log)) is killed


def test_a_log_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    assert was_oom_killed(ID, str(tmp_path / "none")) is False


@pytest.mark.parametrize(
    ("effective", "asked", "permitted"),
    [
        ("000001ffffffffff", -997, -997),
        ("000001fffeffffff", -997, 0),
        ("000001fffeffffff", 1000, 1000),
    ],
)
def test_a_lower_oom_score_needs_the_capability(
    tmp_path: Path, effective: str, asked: int, permitted: int
) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t{effective}\n")
    assert permitted_oom_score_adj(asked, str(status)) == permitted


@pytest.mark.parametrize(
    "reference",
    [
        *("busybox", "busybox:1.36", "library/busybox", "localhost/x:1", "localhost:5000/a/b"),
        *("Registry.example/a__b/c-d.e:V1", f"a/b@sha256:{ID}", f"a/b:1@sha256:{ID}"),
        f"sha256:{ID}",
    ],
)
def test_references_that_are_in_use_are_accepted(reference: str) -> None:
    check_reference(reference)


@pytest.mark.parametrize("reference", ["A", "a:", "a/", "/a", "a@sha256:12", "a b", "a..b", ""])
def test_texts_that_are_none_are_refused(reference: str) -> None:
    with pytest.raises(InvalidImageName):
        check_reference(reference)
