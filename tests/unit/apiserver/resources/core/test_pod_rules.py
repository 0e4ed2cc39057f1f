"""What is refused in a pod, and in which words."""

from __future__ import annotations

import time
from typing import Any

import pytest

from common.api import errors
from master.apiserver.resources.core.pod.podupdate import validate_pod_update
from tests.unit.apiserver.conftest import Writer
from tests.unit.apiserver.resources.core.test_pod_defaults import container, pod

C = "spec.containers[0]"
NEGATIVE = "must be greater than or equal to 0"
RANGE = "must be between 1 and 65535, inclusive"
VOLUME = {"name": "v", "emptyDir": {}}


def mounting(*mounts: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A pod with the volume `v` and mounts of it."""
    body = container(volumeMounts=list(mounts), **members)
    body["spec"]["volumes"] = [VOLUME]
    return body


GOOD = [
    pod(),
    mounting({"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w", "subPath": "x"}),
    container(ports=[{"containerPort": 80, "name": "web"}, {"containerPort": 80, "name": "w2"}]),
    container(env=[{"name": "a.b-c", "value": "x"}, {"name": "1", "value": "relaxed"}]),
    container(
        env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}]
    ),
    container(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "1", "hugepages-2Mi": "0"}}),
    container(resources={"limits": {"example.com/gpu": "2"}}),
    container(lifecycle={"preStop": {"sleep": {"seconds": 5}}}),
    pod(tolerations=[{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]),
    pod(hostAliases=[{"ip": "::1", "hostnames": ["a.b"]}]),
    pod(dnsPolicy="None", dnsConfig={"nameservers": ["10.0.0.1"], "searches": ["_a.b.", "."]}),
    pod(initContainers=[{"name": "i", "image": "x", "restartPolicy": "Always"}]),
    container(
        restartPolicy="Never",
        restartPolicyRules=[
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
            {"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0]}},
        ],
    ),
    pod(schedulingGates=[{"name": "example.com/wait"}]),
    pod(
        securityContext={"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]},
        restartPolicy="Never",
        activeDeadlineSeconds=1,
        terminationGracePeriodSeconds=0,
    ),
]


@pytest.mark.parametrize("body", GOOD)
def test_good_pods(writer: Writer, body: dict[str, Any]) -> None:
    assert writer.create_problems("pods", body) == []


RULE: dict[str, Any] = {"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}
RULES = f"{C}.restartPolicyRules"
BAD_CONTAINERS = [
    (
        {"restartPolicy": "Maybe"},
        [
            f'{C}.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", '
            '"OnFailure"'
        ],
    ),
    (
        {"restartPolicyRules": [RULE]},
        [
            f"{C}.restartPolicy: Required value: must specify restartPolicy when restart rules "
            "are used"
        ],
    ),
    (
        {"restartPolicy": "Never", "restartPolicyRules": [RULE] * 21},
        [f"{RULES}: Too many: 21: must have at most 20 items"],
    ),
    (
        {
            "restartPolicy": "Never",
            "restartPolicyRules": [
                {"action": "Stop"},
                {**RULE, "exitCodes": {"operator": "Is", "values": [1] * 256}},
            ],
        },
        [
            f'{RULES}[0].action: Unsupported value: "Stop": supported values: "Restart", '
            '"RestartAllContainers"',
            f"{RULES}[0].exitCodes: Required value: must be specified",
            f'{RULES}[1].exitCodes.operator: Unsupported value: "Is": supported values: "In", '
            '"NotIn"',
            f"{RULES}[1].exitCodes.values: Too many: 256: must have at most 255 items",
        ],
    ),
    ({"name": ""}, [f"{C}.name: Required value"]),
    ({"image": ""}, [f"{C}.image: Required value"]),
    (
        {"image": " x"},
        [f'{C}.image: Invalid value: " x": must not have leading or trailing whitespace'],
    ),
    (
        {"imagePullPolicy": "Sometimes"},
        [
            f'{C}.imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", '
            '"IfNotPresent", "Never"'
        ],
    ),
    ({"ports": [{"containerPort": 0}]}, [f"{C}.ports[0].containerPort: Required value"]),
    (
        {"ports": [{"containerPort": 65536}]},
        [f"{C}.ports[0].containerPort: Invalid value: 65536: {RANGE}"],
    ),
    (
        {"ports": [{"containerPort": -1}]},
        [f"{C}.ports[0].containerPort: Invalid value: -1: {RANGE}"],
    ),
    (
        {"ports": [{"containerPort": 1, "protocol": "HTTP"}]},
        [
            f'{C}.ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", '
            '"UDP"'
        ],
    ),
    (
        {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
        [f'{C}.ports[1].name: Duplicate value: "a"'],
    ),
    (
        {"ports": [{"containerPort": 1, "hostPort": 8}, {"containerPort": 2, "hostPort": 8}]},
        [f'{C}.ports[1].hostPort: Duplicate value: "TCP//8"'],
    ),
    ({"env": [{"name": ""}]}, [f"{C}.env[0].name: Required value"]),
    (
        {"env": [{"name": "a=b"}]},
        [
            f'{C}.env[0].name: Invalid value: "a=b": a valid environment variable name must '
            "consist only of printable ASCII characters other than '='"
        ],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {}}]},
        [
            f'{C}.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, '
            "`resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        ],
    ),
    (
        {
            "env": [
                {
                    "name": "A",
                    "value": "x",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                }
            ]
        },
        [
            f'{C}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not '
            "empty"
        ],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]},
        [
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": '
            'supported values: "metadata.name", "metadata.namespace", "metadata.uid", '
            '"spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", '
            '"status.podIP", "status.podIPs"'
        ],
    ),
    (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]},
        [
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": error converting '
            "fieldPath: field label not supported: spec.x"
        ],
    ),
    (
        {"envFrom": [{}]},
        [f'{C}.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'],
    ),
    (
        {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
        [
            f'{C}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit '
            "of 1"
        ],
    ),
    (
        {"resources": {"limits": {"cpu": "-1"}, "requests": {"cpu": "-1"}}},
        [
            f'{C}.resources.{side}[cpu]: Invalid value: "-1": must be greater than or equal to 0'
            for side in ("limits", "requests")
        ],
    ),
    (
        {"resources": {"requests": {"foo": "1"}}},
        [
            f'{C}.resources.requests[foo]: Invalid value: "foo": must be a standard resource type '
            "or fully qualified",
            f'{C}.resources.requests[foo]: Invalid value: "foo": must be a standard resource for '
            "containers",
        ],
    ),
    (
        {"resources": {"requests": {"example.com/gpu": "1"}}},
        [
            f"{C}.resources.limits: Required value: Limit must be set for non overcommitable "
            "resources"
        ],
    ),
    (
        {"resources": {"limits": {"example.com/gpu": "500m"}}},
        [
            f'{C}.resources.{side}[example.com/gpu]: Invalid value: "500m": must be an integer'
            for side in ("limits", "requests")
        ],
    ),
    (
        {"livenessProbe": {}},
        [f"{C}.livenessProbe: Required value: must specify a handler type"],
    ),
    (
        {"livenessProbe": {"httpGet": {}}},
        [f"{C}.livenessProbe.httpGet.port: Invalid value: 0: {RANGE}"],
    ),
    (
        {"readinessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}},
        [f"{C}.readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
    ),
    (
        {"livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}},
        [f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    ),
    (
        {"startupProbe": {"exec": {}, "periodSeconds": -1}},
        [
            f"{C}.startupProbe.exec.command: Required value",
            f"{C}.startupProbe.periodSeconds: Invalid value: -1: {NEGATIVE}",
        ],
    ),
    (
        {"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}},
        [
            f"{C}.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than "
            "terminationGracePeriodSeconds (30)"
        ],
    ),
    (
        {"volumeMounts": [{"name": "x", "mountPath": "/x"}]},
        [f'{C}.volumeMounts[0].name: Not found: "x"'],
    ),
    (
        {"securityContext": {"runAsUser": -1}},
        [
            f"{C}.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, "
            "inclusive"
        ],
    ),
    (
        {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
        [
            f"{C}.securityContext.seccompProfile.localhostProfile: Required value: must be set "
            "when seccomp type is Localhost"
        ],
    ),
]


@pytest.mark.parametrize(("members", "expected"), BAD_CONTAINERS)
def test_bad_containers(writer: Writer, members: dict[str, Any], expected: list[str]) -> None:
    assert writer.create_problems("pods", container(**members)) == expected


BAD_PODS = [
    (pod(containers=[]), ["spec.containers: Required value"]),
    (
        pod(containers=[{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]),
        ['spec.containers[1].name: Duplicate value: "a"'],
    ),
    (
        pod(initContainers=[{"name": "web", "image": "x"}]),
        ['spec.initContainers[0].name: Duplicate value: "web"'],
    ),
    (
        pod(initContainers=[{"name": "i", "image": "x", "livenessProbe": {"exec": {}}}]),
        [
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers "
            "without restartPolicy=Always"
        ],
    ),
    (
        mounting({"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/v"}),
        [f'{C}.volumeMounts[1].mountPath: Invalid value: "/v": must be unique'],
    ),
    (
        mounting({"name": "v", "mountPath": ""}),
        [f"{C}.volumeMounts[0].mountPath: Required value"],
    ),
    (
        mounting({"name": "v", "mountPath": "/v", "subPath": "../x"}),
        [f"""{C}.volumeMounts.subPath: Invalid value: "../x": must not contain '..'"""],
    ),
    (
        pod(volumes=[VOLUME, VOLUME]),
        ['spec.volumes[1].name: Duplicate value: "v"'],
    ),
    (
        pod(volumes=[{**VOLUME, "hostPath": {"path": "/x"}}]),
        ["spec.volumes[0].emptyDir: Forbidden: may not specify more than 1 volume type"],
    ),
    (
        pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]),
        ["""spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain '..'"""],
    ),
    (
        pod(volumes=[{"name": "v", "secret": {"defaultMode": 512}}]),
        [
            "spec.volumes[0].secret.secretName: Required value",
            "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 "
            "and 0777 (octal), both inclusive",
        ],
    ),
    (
        pod(
            volumes=[
                {"name": "v", "configMap": {"name": "c", "items": [{"key": "", "path": "/a"}]}}
            ]
        ),
        [
            "spec.volumes[0].configMap.items[0].key: Required value",
            'spec.volumes[0].configMap.items[0].path: Invalid value: "/a": must be a relative path',
        ],
    ),
    (
        pod(restartPolicy="Maybe"),
        [
            'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", '
            '"OnFailure", "Never"'
        ],
    ),
    (
        pod(dnsPolicy="None"),
        ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    ),
    (
        pod(activeDeadlineSeconds=0),
        [
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, "
            "inclusive"
        ],
    ),
    (
        pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        [
            'spec.tolerations[0].operator: Invalid value: "b": value must be empty when '
            "`operator` is 'Exists'"
        ],
    ),
    (
        pod(tolerations=[{"key": "a", "tolerationSeconds": 1}]),
        [
            "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when "
            "`tolerationSeconds` is set"
        ],
    ),
    (
        pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
        [
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
            "nodeSelectorTerms: Required value: must have at least one node selector term"
        ],
    ),
    (
        pod(
            topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "X"}]
        ),
        [
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than "
            "zero",
            'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "X": '
            'supported values: "DoNotSchedule", "ScheduleAnyway"',
        ],
    ),
    (
        pod(hostAliases=[{"ip": "999.1.1.1"}]),
        [
            'spec.hostAliases[0].ip: Invalid value: "999.1.1.1": must be a valid IP address, '
            "(e.g. 10.9.8.7 or 2001:db8::ffff)"
        ],
    ),
    (
        pod(schedulingGates=[{"name": "a"}, {"name": "a"}]),
        ['spec.schedulingGates[1]: Duplicate value: "a"'],
    ),
    (
        pod(schedulingGates=[{"name": "a"}], nodeName="n"),
        ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    ),
]


@pytest.mark.parametrize(("body", "expected"), BAD_PODS)
def test_bad_pods(writer: Writer, body: dict[str, Any], expected: list[str]) -> None:
    assert writer.create_problems("pods", body) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"containers": [{"name": "web", "image": "x:2", "imagePullPolicy": "Always"}]}, ""),
        ({"activeDeadlineSeconds": 5}, ""),
        ({"activeDeadlineSeconds": 11}, "must be less than or equal to previous value"),
        ({"activeDeadlineSeconds": None}, "must not update from a positive integer to nil value"),
        ({"tolerations": [{"key": "a"}, {"key": "b"}]}, ""),
        ({"tolerations": [{"key": "b"}]}, "existing toleration can not be modified except"),
        ({"schedulingGates": [{"name": "x"}]}, "found new scheduling gate 'x'"),
        ({"restartPolicy": "Never"}, '-  restartPolicy: "Always"\n+  restartPolicy: "Never"'),
        ({"containers": [{"name": "b", "image": "nginx"}]}, "pod updates may not change fields"),
        ({"containers": [{"name": "b", "image": "x"}] * 2}, "Duplicate value"),
        ({"initContainers": [{"name": "b", "image": "x"}]}, "may not add or remove containers"),
    ],
)
def test_updates(writer: Writer, change: dict[str, Any], expected: str) -> None:
    old: dict[str, Any] = {"activeDeadlineSeconds": 10, "tolerations": [{"key": "a"}]}
    new = {name: value for name, value in (old | change).items() if value is not None}
    found = writer.update_problems("pods", pod(**new), pod(**old))
    assert (not found) if not expected else (len(found) == 1 and expected in found[0])


def test_a_gated_pod_can_be_narrowed_down(writer: Writer) -> None:
    gates = [{"name": "a"}]
    old = pod(schedulingGates=gates, nodeSelector={"a": "b"})
    narrower = pod(schedulingGates=gates, nodeSelector={"a": "b", "c": "d"})
    assert writer.update_problems("pods", narrower, old) == []
    other = pod(schedulingGates=gates, nodeSelector={"a": "x"})
    assert "spec: Forbidden" in writer.update_problems("pods", other, old)[0]


BAD_NUMBERS = [
    2**31,
    -(2**31) - 1,
    2**63,
    True,
    "1_000",
    "٣",
    "+1",
    " 7 ",
    "5",
    1.5,
    [1],
    {},
]


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_what_is_no_number_is_a_bad_request(writer: Writer, number: Any) -> None:
    with pytest.raises(errors.StatusError) as raised:
        writer.decode("pods", container(ports=[{"containerPort": number}]))
    assert raised.value.code == 400


@pytest.mark.parametrize("amount", ["1_000", "٣", "1 7", "1KiB", "", "1e9999", "0x10", "NaN"])
def test_what_is_no_amount_is_a_bad_request(writer: Writer, amount: str) -> None:
    with pytest.raises(errors.StatusError) as raised:
        writer.create("pods", container(resources={"limits": {"cpu": amount}}))
    assert raised.value.code == 400


@pytest.mark.parametrize("cost", ["1", "-5", "2147483647"])
def test_deletion_cost(writer: Writer, cost: str) -> None:
    body = pod()
    name = "controller.kubernetes.io/pod-deletion-cost"
    body["metadata"]["annotations"] = {name: cost}
    assert writer.create_problems("pods", body) == []
    for wrong in (f"+{cost}", f"0{cost}", "2147483648", "", "1_0"):
        body["metadata"]["annotations"] = {name: wrong}
        assert "must be a 32bit integer" in writer.create_problems("pods", body)[0]


@pytest.mark.parametrize(
    ("resource", "divisor", "problem"),
    [
        ("limits.cpu", "1m", ""),
        ("limits.cpu", "1", ""),
        ("limits.cpu", "1000m", ""),
        ("limits.cpu", "0", ""),
        ("requests.cpu", "2", "1m and 1 are supported with the cpu resource"),
        ("limits.memory", "1Mi", ""),
        ("limits.memory", "1024Ki", ""),
        ("requests.memory", "2Mi", "1Pi, 1Ei are supported with the memory resource"),
        ("limits.memory", "1m", "1Pi, 1Ei are supported with the memory resource"),
        ("limits.ephemeral-storage", "3", "supported with the local ephemeral storage resource"),
        ("limits.hugepages-2Mi", "1M", ""),
        ("limits.hugepages-2Mi", "5", "1Pi, 1Ei are supported with the hugepages resource"),
    ],
)
def test_divisors_are_units(writer: Writer, resource: str, divisor: str, problem: str) -> None:
    source = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    found = writer.create_problems("pods", container(env=[{"name": "A", "valueFrom": source}]))
    if not problem:
        assert found == []
    else:
        [text] = found
        path = "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor"
        assert text.startswith(f'{path}: Invalid value: "{resource}": only divisor\'s values 1')
        assert text.endswith(problem)


def test_tolerations_are_compared_in_linear_time(writer: Writer) -> None:
    def tolerating(seconds: int) -> Any:
        some = [
            {
                "key": f"k{number}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": seconds,
            }
            for number in range(5_000)
        ]
        return writer.create("pods", pod(tolerations=some))

    old, new = tolerating(1), tolerating(2)
    start = time.process_time()
    assert list(validate_pod_update(new, old)) == []
    assert time.process_time() - start < 0.5
    assert list(validate_pod_update(writer.create("pods", pod()), old)) != []
