"""No field of a pod is ignored: what the kubelet cannot carry out is named."""

import typing
from typing import Any

import msgspec
import pytest

from common.api.types.core_v1 import Container, Pod, PodSpec, SecurityContext
from master.apiserver.resources.core.pod.poddefaults import default_pod
from node.kubelet.spec import supported
from tests.fakes.pods import container, pod


def text(one: Pod) -> str:
    """Everything that is found of a pod."""
    found = supported.findings(one)
    return " ".join([found.pod, *(text for _, text in found.containers)]).strip()


def test_a_pod_with_the_apis_defaults_has_nothing_unsupported() -> None:
    assert text(pod()) == ""


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        (
            {"lifecycle": {"preStop": {"tcpSocket": {"port": 80}}}},
            "spec.containers[app].lifecycle.preStop.tcpSocket",
        ),
        ({"lifecycle": {"stopSignal": "SIGUSR1"}}, "lifecycle.stopSignal"),
        ({"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}, "volumeDevices"),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}]},
            "volumeMounts[v].recursiveReadOnly",
        ),
        ({"resources": {"limits": {"hugepages-2Mi": "2Mi"}}}, "limits[hugepages-2Mi]"),
        ({"resources": {"limits": {"kubernetes.io/a": "1"}}}, "limits[kubernetes.io/a]"),
    ],
)
def test_fields_of_a_container(fields: dict[str, Any], path: str) -> None:
    assert path in text(pod(containers=[container(**fields)]))


def test_labels_are_passed_over_by_a_machine_that_knows_none() -> None:
    context = {"seLinuxOptions": {"level": "s0:c0,c1"}}
    one = pod(containers=[container(securityContext=context)], securityContext=context)
    assert text(one) == ""
    found = supported.findings(one, selinux=True)
    assert "spec.securityContext.seLinuxOptions" in found.pod
    assert "spec.containers[app].securityContext.seLinuxOptions" in found.containers[0][1]


def test_what_the_api_sets_by_default_is_carried_out() -> None:
    """Every default of the API's own, on and off the machine's network."""
    probe = {"httpGet": {"port": 80}}
    plain = {
        "name": "app",
        "image": "x",
        "ports": [{"containerPort": 80}, {"containerPort": 81, "hostIP": "10.0.0.1"}],
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "livenessProbe": probe,
        "readinessProbe": {"grpc": {"port": 80}},
        "startupProbe": probe,
        "lifecycle": {"preStop": probe},
        "resources": {
            "limits": {
                "cpu": "1",
                "memory": "1Mi",
                "nvidia.com/gpu": "1",
                "ephemeral-storage": "1Gi",
            }
        },
        "securityContext": {"procMount": "Default"},
    }
    sources: list[dict[str, Any]] = [
        {},
        {"hostPath": {"path": "/x"}},
        {"configMap": {"name": "c"}},
        {"secret": {"secretName": "s"}},
        {"projected": {"sources": [{"secret": {"name": "s"}}]}},
        {"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    volumes = [{"name": f"v{number}", **source} for number, source in enumerate(sources)]
    spec = {"containers": [plain], "initContainers": [plain | {"name": "init"}], "volumes": volumes}
    for network in ({}, {"hostNetwork": True}):
        one = msgspec.convert({"spec": spec | network}, Pod)
        default_pod(one)
        assert text(one) == ""


def test_the_only_operating_system_is_carried_out() -> None:
    assert text(pod(os={"name": "linux"})) == ""


@pytest.mark.parametrize("name", ["livenessProbe", "readinessProbe", "startupProbe"])
def test_probes_and_hooks_are_carried_out(name: str) -> None:
    hooks = {"postStart": {"exec": {"command": ["x"]}}, "preStop": {"sleep": {"seconds": 1}}}
    fields = {name: {"httpGet": {"port": 80}}, "lifecycle": hooks}
    assert text(pod(containers=[container(**fields)])) == ""


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"shareProcessNamespace": True}, "spec.shareProcessNamespace"),
        ({"hostUsers": False}, "spec.hostUsers"),
        ({"os": {"name": "windows"}}, "spec.os"),
        (
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]},
            "volumes[v].persistentVolumeClaim",
        ),
        ({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}, "volumes[v].nfs"),
        (
            {
                "volumes": [
                    {
                        "name": "v",
                        "projected": {"sources": [{"clusterTrustBundle": {"path": "ca"}}]},
                    }
                ]
            },
            "projected.sources[0].clusterTrustBundle",
        ),
        ({"volumes": [{"name": "v", "emptyDir": {"medium": "HugePages"}}]}, "emptyDir.medium"),
        ({"securityContext": {"supplementalGroupsPolicy": "Strict"}}, "supplementalGroupsPolicy"),
    ],
)
def test_fields_of_a_pod(fields: dict[str, Any], path: str) -> None:
    assert path in text(pod(**fields))


def test_what_only_says_the_default_is_carried_out() -> None:
    volume = {"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    assert text(pod(securityContext={"supplementalGroupsPolicy": "Merge"}, volumes=[volume])) == ""


def test_fields_of_an_ephemeral_container() -> None:
    debug = {"name": "debug", "image": "x", "targetContainerName": "app", "tty": True}
    assert text(pod(ephemeralContainers=[debug])) == ""
    device = {**debug, "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}
    found = "spec.ephemeralContainers[debug].volumeDevices"
    assert found in text(pod(ephemeralContainers=[device]))


def test_restart_policies_of_containers_are_carried_out() -> None:
    one = pod(
        initContainers=[container("side", restartPolicy="Always")],
        containers=[container(restartPolicy="OnFailure")],
    )
    assert text(one) == ""


@pytest.mark.parametrize("owner", [PodSpec, Container, SecurityContext])
def test_every_field_is_either_known_or_named(owner: type[msgspec.Struct]) -> None:
    """A field that a later API adds is not silently ignored."""
    known = {
        PodSpec: supported.POD | set(supported.POD_DEFAULTS),
        Container: supported.CONTAINER,
        SecurityContext: supported.SECURITY,
    }[owner]
    hints = typing.get_type_hints(owner)
    unknown = set(owner.__struct_fields__) - known
    assert set(known) <= set(owner.__struct_fields__), "a known field that does not exist"
    for name in unknown:
        value = _set(hints[name])
        if value is not None:
            assert name in text(_with(owner, name, value)), name


def _set(hint: Any) -> Any:
    """A value other than the zero, for the types where one is easily made."""
    options = [a for a in typing.get_args(hint) if a is not type(None)] or [hint]
    simple: dict[Any, Any] = {str: "x", bool: True}
    return next((simple[option] for option in options if option in simple), None)


def _with(owner: type[msgspec.Struct], name: str, value: Any) -> Pod:
    """A pod in which one field of one Struct is set."""
    one = pod(containers=[container(securityContext={})])
    target: Any = {
        PodSpec: one.spec,
        Container: one.spec.containers[0],
        SecurityContext: one.spec.containers[0].securityContext,
    }[owner]
    setattr(target, name, value)
    return one
