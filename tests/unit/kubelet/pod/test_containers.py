"""From a container of a pod to what the runtime makes: limits, users, capabilities, mounts."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from common.api.types.core_v1 import Container, Pod
from common.api.types.runtimeclass_v1 import RuntimeClass
from node.kubelet.spec.containers import ContainerContext, container_spec, sub_paths
from node.kubelet.spec.env import Config
from node.kubelet.spec.texts import ConfigError
from node.runtime.base import UNCONFINED, ContainerSpec
from tests.fakes.pods import HOST, UID, container, pod, sandbox


def made(
    *, image_user: str = "", of_pod: dict[str, Any] | None = None, **fields: Any
) -> ContainerSpec:
    """What a container with these fields becomes."""
    one = pod(containers=[container(**fields)], **(of_pod or {}))
    around = context(one, image_user)
    own = msgspec.convert(one.spec.containers[0], Container)
    inside = {number: f"/inside/{path}" for number, path in sub_paths(one, own, around).items()}
    return container_spec(one, own, 2, replace(around, sub_paths=inside))


def context(one: Pod, image_user: str = "") -> ContainerContext:
    """What else it depends on."""
    return ContainerContext(
        config=Config(),
        host=HOST,
        sandbox=sandbox("" if one.spec.hostNetwork else "10.42.1.2"),
        volume_path=lambda volume: f"/volumes/{volume.name}",
        log_root="/var/log/pods",
        seccomp_root="/seccomp",
        termination_path="/messages/app",
        image_user=image_user,
    )


def test_names_labels_and_paths() -> None:
    spec = made()
    assert spec.runtime_name == f"wherry-{UID}-app-2"
    assert spec.log_path == f"/var/log/pods/default_web_{UID}/app/2.log"
    assert spec.netns_path.endswith(f"{UID}/net")
    assert spec.labels["io.wherry.container.attempt"] == "2"


def test_on_the_machines_network_only_memory_is_the_pods_own() -> None:
    spec = made(of_pod={"hostNetwork": True})
    assert (spec.netns_path, spec.utsns_path) == ("", "")
    assert spec.ipcns_path.endswith(f"{UID}/ipc")


def test_the_machines_memory_is_for_who_asks_for_it() -> None:
    sources = [
        next(mount.source for mount in made(of_pod=fields).mounts if mount.target == "/dev/shm")
        for fields in ({}, {"hostIPC": True})
    ]
    assert sources[0].endswith(f"{UID}/shm")
    assert sources[1] == "/dev/shm"


@pytest.mark.parametrize(
    ("qos", "memory", "score"),
    [
        ("Guaranteed", "1Gi", -997),
        ("BestEffort", "", 1000),
        ("Burstable", "", 999),
        ("Burstable", "1Gi", 750),
        ("Burstable", "4Gi", 3),
    ],
)
def test_who_goes_first_when_memory_is_out(qos: str, memory: str, score: int) -> None:
    requests = {"memory": memory} if memory else {}
    spec = made(of_pod={"status": {"qosClass": qos}}, resources={"requests": requests})
    assert spec.oom_score_adj == score


@pytest.mark.parametrize(("asked", "score"), [("", 750), ("2Gi", 500)])
def test_a_sidecar_does_not_go_before_who_it_serves(asked: str, score: int) -> None:
    requests = {"memory": asked} if asked else {}
    side = container("app", restartPolicy="Always", resources={"requests": requests})
    apps = [
        container(name, resources={"requests": {"memory": memory}})
        for name, memory in (("a", "1Gi"), ("b", "3Gi"))
    ]
    one = pod(initContainers=[side], containers=apps, status={"qosClass": "Burstable"})
    spec = container_spec(one, one.spec.initContainers[0], 0, context(one))
    assert spec.oom_score_adj == score


@pytest.mark.parametrize(
    ("resources", "shares", "quota", "memory"),
    [
        ({}, 2, 0, 0),
        ({"requests": {"cpu": "250m"}}, 256, 0, 0),
        ({"requests": {"cpu": "1m"}}, 2, 0, 0),
        ({"limits": {"cpu": "1500m"}}, 1536, 150_000, 0),
        ({"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}, 102, 100_000, 0),
        ({"limits": {"cpu": "1m"}}, 2, 1000, 0),
        ({"limits": {"memory": "64Mi"}}, 2, 0, 64 << 20),
        ({"limits": {"memory": "1G"}, "requests": {"memory": "1Mi"}}, 2, 0, 10**9),
    ],
)
def test_resources_become_limits(
    resources: dict[str, Any], shares: int, quota: int, memory: int
) -> None:
    spec = made(resources=resources)
    assert (spec.cpu_shares, spec.cpu_quota_us, spec.memory_limit_bytes) == (shares, quota, memory)


@pytest.mark.parametrize(
    ("context", "of_pod", "image", "user"),
    [
        ({}, {}, "", ""),
        ({}, {}, "web", "web"),
        ({"runAsUser": 7}, {}, "web", "7"),
        ({"runAsUser": 7, "runAsGroup": 8}, {}, "", "7:8"),
        ({}, {"runAsUser": 9}, "", "9"),
        ({"runAsUser": 0}, {"runAsUser": 9}, "", "0"),
        ({"runAsGroup": 8}, {}, "web:web", "web:8"),
        ({"runAsGroup": 8}, {}, "", "0:8"),
        ({"runAsNonRoot": True}, {}, "1000", "1000"),
        ({"runAsNonRoot": True, "runAsUser": 5}, {}, "root", "5"),
        ({"runAsNonRoot": False}, {"runAsNonRoot": True}, "", ""),
    ],
)
def test_users(context: dict[str, Any], of_pod: dict[str, Any], image: str, user: str) -> None:
    spec = made(image_user=image, securityContext=context, of_pod={"securityContext": of_pod})
    assert spec.user == user


@pytest.mark.parametrize(
    ("context", "image", "message"),
    [
        ({"runAsUser": 0}, "", "container's runAsUser breaks non-root policy"),
        ({}, "", "container has runAsNonRoot and image will run as root"),
        ({}, "00:5", "container has runAsNonRoot and image will run as root"),
        ({}, "root:wheel", "image will run as root"),
        ({}, "web", r"non-numeric user \(web\), cannot verify"),
    ],
)
def test_what_may_not_be_root_is_not(context: dict[str, Any], image: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(image_user=image, securityContext={"runAsNonRoot": True, **context})


def test_capabilities_are_added_and_dropped() -> None:
    spec = made(securityContext={"capabilities": {"add": ["NET_ADMIN"], "drop": ["MKNOD"]}})
    assert "NET_ADMIN" in spec.capabilities_add
    assert "MKNOD" not in spec.capabilities_add
    assert spec.capabilities_drop == ("MKNOD",)


@pytest.mark.parametrize("everything", ["ALL", "all"])
def test_all_capabilities_dropped_leave_only_those_asked_for(everything: str) -> None:
    context = {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": [everything]}}
    spec = made(securityContext=context)
    assert spec.capabilities_add == ("NET_BIND_SERVICE",)
    assert spec.capabilities_drop == ("ALL",)


def test_privileges() -> None:
    assert not made().no_new_privileges
    spec = made(securityContext={"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True})
    assert spec.no_new_privileges
    assert spec.read_only_root
    assert made(securityContext={"privileged": True}).privileged


def test_system_calls_are_filtered_unless_the_nearest_profile_says_no() -> None:
    unconfined = {"seccompProfile": {"type": "Unconfined"}}
    default = {"seccompProfile": {"type": "RuntimeDefault"}}
    of_pod = {"securityContext": unconfined}
    assert made().seccomp_profile == ""
    assert made(securityContext=default, of_pod=of_pod).seccomp_profile == ""
    assert made(of_pod=of_pod).seccomp_profile == UNCONFINED


def test_profiles_of_the_machine_are_below_one_directory() -> None:
    def profile(name: str) -> str:
        context = {"seccompProfile": {"type": "Localhost", "localhostProfile": name}}
        return made(securityContext=context).seccomp_profile

    assert profile("audit/a.json") == "/seccomp/audit/a.json"
    for wrong in ("", "/etc/shadow", "../x", "a/../../x"):
        with pytest.raises(ConfigError, match="must be a path below /seccomp"):
            profile(wrong)


def test_the_runtime_is_that_of_the_pods_class() -> None:
    one = pod(runtimeClassName="fast")
    around = context(one)
    with pytest.raises(ConfigError, match='RuntimeClass "fast" not found'):
        container_spec(one, one.spec.containers[0], 0, around)
    known = replace(around, config=Config(runtime_class=RuntimeClass(handler="crun")))
    assert container_spec(one, one.spec.containers[0], 0, known).oci_runtime == "crun"
    assert made().oci_runtime == ""


def test_command_and_arguments_see_the_environment() -> None:
    spec = made(
        env=[{"name": "WHO", "value": "world"}],
        command=["echo", "$(WHO)"],
        args=["$$(WHO)", "$(NONE)"],
    )
    assert list(spec.command) == ["echo", "world"]
    assert list(spec.args) == ["$(WHO)", "$(NONE)"]


def test_every_container_sees_the_pods_files() -> None:
    targets = {mount.target for mount in made().mounts}
    assert targets == {
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/dev/shm",
        "/dev/termination-log",
    }


def test_a_mount_of_the_users_own_wins() -> None:
    spec = made(
        of_pod={"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]},
        volumeMounts=[{"name": "v", "mountPath": "/etc/hosts"}],
    )
    [hosts] = [mount for mount in spec.mounts if mount.target == "/etc/hosts"]
    assert hosts.source == "/volumes/v"


@pytest.mark.parametrize(
    ("volume", "mount", "read_only"),
    [
        ({"emptyDir": {}}, {}, False),
        ({"emptyDir": {}}, {"readOnly": True}, True),
        ({"hostPath": {"path": "/x"}}, {}, False),
        ({"configMap": {"name": "c"}}, {}, True),
        ({"secret": {"secretName": "s"}}, {}, True),
    ],
)
def test_volumes_are_mounted(
    volume: dict[str, Any], mount: dict[str, Any], read_only: bool
) -> None:
    spec = made(
        of_pod={"volumes": [{"name": "v", **volume}]},
        volumeMounts=[{"name": "v", "mountPath": "/v", **mount}],
    )
    [found] = [mount for mount in spec.mounts if mount.target == "/v"]
    assert (found.source, found.read_only) == ("/volumes/v", read_only)


@pytest.mark.parametrize(
    ("asked", "propagation"),
    [(None, "rprivate"), ("HostToContainer", "rslave"), ("Bidirectional", "rshared")],
)
def test_propagation(asked: str | None, propagation: str) -> None:
    spec = made(
        of_pod={"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]},
        volumeMounts=[{"name": "v", "mountPath": "/v", "mountPropagation": asked}],
    )
    [found] = [mount for mount in spec.mounts if mount.target == "/v"]
    assert found.propagation == propagation


def test_a_volume_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="volume none not found"):
        made(volumeMounts=[{"name": "none", "mountPath": "/v"}])


def test_a_mount_comes_after_the_one_that_it_is_below() -> None:
    names = {
        "deep": "/etc/app/cache/x",
        "app": "/etc/app",
        "cache": "/etc/app//cache/",
        "dev": "/dev",
    }
    spec = made(
        of_pod={"volumes": [{"name": name, "emptyDir": {}} for name in names]},
        volumeMounts=[{"name": name, "mountPath": path} for name, path in names.items()],
    )
    order = [mount.target for mount in spec.mounts]
    assert order.index("/etc/app") < order.index("/etc/app//cache/")
    assert order.index("/etc/app//cache/") < order.index("/etc/app/cache/x")
    assert order.index("/dev") < order.index("/dev/shm")


VOLUME = {"volumes": [{"name": "v", "emptyDir": {}}]}


def mounting(**fields: str) -> dict[str, Any]:
    """A container that mounts the inside of a volume."""
    env = [{"name": "WHERE", "value": "in/side"}]
    return {"volumeMounts": [{"name": "v", "mountPath": "/v", **fields}], "env": env}


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"subPath": "a/b"}, "/inside/a/b"),
        ({"subPath": "$(WHERE)"}, "/inside/$(WHERE)"),
        ({"subPathExpr": "x/$(WHERE)"}, "/inside/x/in/side"),
        ({"subPathExpr": "$$(WHERE)"}, "/inside/$(WHERE)"),
        ({}, "/volumes/v"),
    ],
)
def test_the_inside_of_a_volume_is_mounted_by_its_path(fields: dict[str, str], source: str) -> None:
    [mount] = [
        one for one in made(of_pod=VOLUME, **mounting(**fields)).mounts if one.target == "/v"
    ]
    assert mount.source == source


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"subPath": "/etc"}, "must be a relative path"),
        ({"subPath": "a/../b"}, "must not contain '..'"),
        ({"subPathExpr": "$(NOWHERE)"}, "missing value for 'NOWHERE'"),
        ({"subPathExpr": "/$(WHERE)"}, "must be a relative path"),
    ],
)
def test_a_path_that_could_lead_out_of_its_volume_is_refused(
    fields: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        made(of_pod=VOLUME, **mounting(**fields))


def test_processes_belong_to_the_group_of_the_volumes() -> None:
    security = {"fsGroup": 5, "supplementalGroups": [7, 5]}
    assert made(of_pod={"securityContext": security}).groups == ["7", "5"]
    assert made(of_pod={"securityContext": {"fsGroup": 5}}).groups == ["5"]
