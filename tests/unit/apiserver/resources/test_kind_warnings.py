"""Warnings: what is accepted and yet is told. A kube-apiserver's answers to the same objects."""

from __future__ import annotations

import time
from typing import Any

import pytest

from common.api.types.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    ContainerPort,
    KeyToPath,
    PodSpec,
    Volume,
)
from common.api.types.meta_v1 import ObjectMeta
from common.runtime.clock import SystemClock
from common.security import pairs
from common.security.ca import CertificateAuthority
from common.security.csr import make_key
from master.apiserver.resources.core.pod import podwarnings
from tests.unit.apiserver.conftest import STRATEGIES, Writer


def short(text: str) -> str:
    """The beginning and the end of a long text."""
    return text if len(text) <= 80 else f"{text[:40]}...{text[-35:]}"


@pytest.mark.parametrize(
    ("kind", "plain", "texts"),
    [
        (
            "pods",
            {
                "metadata": {"name": "a.b", "namespace": "n"},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
            ["metadata.name: this is used in the Pod's...ecommended: [must not contain dots]"],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "image": "i",
                            "resources": {
                                "limits": {"memory": "1.5", "ephemeral-storage": "100m"},
                                "requests": {"memory": "0.5"},
                            },
                        }
                    ]
                },
            },
            [
                'spec.containers[0].resources.limits[memo...00m" is invalid, must be an integer',
                'spec.containers[0].resources.requests[me...00m" is invalid, must be an integer',
                'spec.containers[0].resources.limits[ephe...00m" is invalid, must be an integer',
                'spec.containers[0].resources.requests[ep...00m" is invalid, must be an integer',
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "image": "i",
                            "env": [
                                {"name": "A", "value": "1"},
                                {"name": "A", "value": "2"},
                                {"name": "A", "value": "$(A)"},
                                {"name": "A", "value": "$(A)x"},
                                {
                                    "name": "A",
                                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                                },
                            ],
                        }
                    ]
                },
            },
            [
                "spec.containers[0].env[1]: hides previou...ich may be dropped when using apply",
                "spec.containers[0].env[2]: hides previou...ich may be dropped when using apply",
                "spec.containers[0].env[4]: hides previou...ich may be dropped when using apply",
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "image": "i",
                            "ports": [
                                {"containerPort": 80, "name": "a"},
                                {"containerPort": 80, "name": "b"},
                                {"containerPort": 80, "hostPort": 8080},
                                {"containerPort": 80, "hostIP": "1.2.3.4"},
                            ],
                        }
                    ]
                },
            },
            [
                "spec.containers[0].ports[1]: duplicate p...on with spec.containers[0].ports[0]",
                "spec.containers[0].ports[2]: overlapping...on with spec.containers[0].ports[0]",
                "spec.containers[0].ports[2]: overlapping...on with spec.containers[0].ports[1]",
                "spec.containers[0].ports[3]: hostIP set ...ort:80 Protocol:TCP HostIP:1.2.3.4}",
                "spec.containers[0].ports[3]: overlapping...on with spec.containers[0].ports[0]",
                "spec.containers[0].ports[3]: overlapping...on with spec.containers[0].ports[1]",
                "spec.containers[0].ports[3]: overlapping...on with spec.containers[0].ports[2]",
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "image": "i",
                            "ports": [
                                {"containerPort": 80, "hostPort": 1, "hostIP": "1.2.3.4"},
                                {"containerPort": 80, "hostPort": 1},
                                {"containerPort": 80, "hostPort": 1, "hostIP": "1.2.3.5"},
                                {"containerPort": 80, "hostPort": 2, "hostIP": "1.2.3.5"},
                            ],
                        }
                    ]
                },
            },
            [
                "spec.containers[0].ports[1]: dangerously...on with spec.containers[0].ports[0]",
                "spec.containers[0].ports[2]: dangerously...on with spec.containers[0].ports[1]",
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [
                        {"name": "c", "image": "i", "ports": [{"containerPort": 81, "name": "a"}]}
                    ],
                    "initContainers": [
                        {"name": "d", "image": "i", "ports": [{"containerPort": 80, "name": "a"}]}
                    ],
                },
            },
            ["spec.containers[0].ports[0]: duplicate p...use spec.initContainers[0].ports[0]"],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "nodeSelector": {
                        "beta.kubernetes.io/os": "linux",
                        "node-role.kubernetes.io/master": "",
                    },
                },
            },
            [
                'spec.nodeSelector[beta.kubernetes.io/os]....14; use "kubernetes.io/os" instead',
                'spec.nodeSelector[node-role.kubernetes.i...ubernetes.io/control-plane" instead',
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "failure-domain.beta.kubernetes.io/zone",
                            "whenUnsatisfiable": "DoNotSchedule",
                        }
                    ],
                },
            },
            [
                'spec.topologySpreadConstraints[0].topolo...opology.kubernetes.io/zone" instead',
                "spec.topologySpreadConstraints[0].labelS...Selector results in matching no pod",
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [
                                    {
                                        "matchExpressions": [
                                            {"key": "beta.kubernetes.io/arch", "operator": "Exists"}
                                        ]
                                    }
                                ]
                            },
                            "preferredDuringSchedulingIgnoredDuringExecution": [
                                {
                                    "weight": 1,
                                    "preference": {
                                        "matchExpressions": [
                                            {"key": "x", "operator": "In", "values": ["b c"]}
                                        ]
                                    },
                                }
                            ],
                        },
                        "podAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x"}]
                        },
                        "podAntiAffinity": {
                            "preferredDuringSchedulingIgnoredDuringExecution": [
                                {"weight": 1, "podAffinityTerm": {"topologyKey": "x"}}
                            ]
                        },
                    },
                },
            },
            [
                'spec.affinity.nodeAffinity.requiredDurin...4; use "kubernetes.io/arch" instead',
                "spec.affinity.nodeAffinity.preferredDuri...-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                "spec.affinity.podAffinity.requiredDuring...Selector results in matching no pod",
                "spec.affinity.podAntiAffinity.preferredD...Selector results in matching no pod",
            ],
        ),
        (
            "pods",
            {
                "metadata": {
                    "name": "x",
                    "annotations": {
                        "scheduler.alpha.kubernetes.io/critical-pod": "",
                        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
                        "security.alpha.kubernetes.io/sysctls": "x",
                    },
                    "namespace": "n",
                },
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
            [
                'metadata.annotations[scheduler.alpha.kub...e "priorityClassName" field instead',
                'metadata.annotations[security.alpha.kube...1+; use the "sysctls" field instead',
                'metadata.annotations[seccomp.security.al... the "seccompProfile" field instead',
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}, {"ip": "FD00::0001"}],
                    "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}],
                },
            },
            [
                'spec.hostAliases[1].ip: duplicate ip "1.2.3.4"',
                'spec.imagePullSecrets[1].name: duplicate name "a"',
                'spec.imagePullSecrets[2].name: invalid empty name ""',
                'spec.hostAliases[2].ip: IPv6 address "FD...C 5952 canonical format ("fd00::1")',
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "volumes": [
                        {
                            "name": "v",
                            "configMap": {
                                "name": "cm",
                                "items": [
                                    {"key": "a", "path": "x"},
                                    {"key": "b", "path": "x/y"},
                                    {"key": "c", "path": "x"},
                                    {"key": "d", "path": "xy"},
                                ],
                            },
                        },
                        {
                            "name": "w",
                            "projected": {
                                "sources": [
                                    {
                                        "configMap": {
                                            "name": "cm",
                                            "items": [{"key": "a", "path": "t"}],
                                        }
                                    },
                                    {
                                        "downwardAPI": {
                                            "items": [
                                                {
                                                    "path": "t/x/",
                                                    "fieldRef": {"fieldPath": "metadata.name"},
                                                }
                                            ]
                                        }
                                    },
                                    {"secret": {"name": "s", "items": [{"key": "q", "path": "u"}]}},
                                ]
                            },
                        },
                        {"name": "z", "glusterfs": {"endpoints": "e", "path": "p"}},
                    ],
                },
            },
            [
                "spec.volumes[2].glusterfs: deprecated in v1.25, non-functional in v1.26+",
                'volume "v" (ConfigMap "cm"): overlapping paths: "x/y" with "x"',
                'volume "v" (ConfigMap "cm"): overlapping paths: "x" with "x"',
                'volume "v" (ConfigMap "cm"): overlapping paths: "x" with "x/y"',
                'volume "w" (Projected): overlapping path...nwardAPI) with "t" (ConfigMap "cm")',
            ],
        ),
        (
            "pods",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "dnsConfig": {"nameservers": ["FD00::0001"]},
                    "dnsPolicy": "None",
                    "terminationGracePeriodSeconds": -1,
                },
            },
            ['spec.dnsConfig.nameservers[0]: IPv6 addr...C 5952 canonical format ("fd00::1")'],
        ),
        (
            "services",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]},
            },
            ["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
        ),
        (
            "services",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "ports": [{"port": 80}],
                    "clusterIP": "None",
                    "externalIPs": ["192.0.2.1"],
                    "loadBalancerIP": "1.2.3.4",
                    "sessionAffinity": "ClientIP",
                },
            },
            [
                "spec.loadBalancerIP is ignored for headless services",
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        (
            "services",
            {
                "metadata": {"name": "x", "namespace": "n"},
                "spec": {
                    "ports": [{"port": 80}],
                    "type": "ExternalName",
                    "externalName": "a.b",
                    "externalIPs": ["192.0.2.1"],
                },
            },
            ['spec.externalIPs is ignored when spec.type is "ExternalName"'],
        ),
        (
            "services",
            {
                "metadata": {
                    "name": "x",
                    "annotations": {"service.kubernetes.io/topology-aware-hints": "auto"},
                    "namespace": "n",
                },
                "spec": {
                    "ports": [{"port": 80}],
                    "externalName": "a.b",
                    "trafficDistribution": "PreferClose",
                },
            },
            [
                "annotation service.kubernetes.io/topolog...kubernetes.io/topology-mode instead",
                'spec.externalName is ignored when spec.type is not "ExternalName"',
                'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"',
            ],
        ),
    ],
)
def test_told(writer: Writer, kind: str, plain: dict[str, Any], texts: list[str]) -> None:
    assert writer.create_problems(kind, plain) == []
    found = STRATEGIES[kind].warnings(writer.create(kind, plain))
    assert [short(text) for text in found if "load balancer" not in text] == texts


CONTAINER = {"name": "c", "image": "i", "resources": {"limits": {"memory": "1.5"}}}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("deployments.apps", True),
        ("replicasets.apps", True),
        ("daemonsets.apps", False),
        ("statefulsets.apps", False),
        ("replicationcontrollers", True),
        ("podtemplates", False),
    ],
)
def test_templates_are_told_of_when_they_are_new_or_changed(
    writer: Writer, kind: str, name: bool
) -> None:
    selector: dict[str, Any] = {"matchLabels": {"a": "b"}}
    if kind == "replicationcontrollers":
        selector = {"a": "b"}
    plain: dict[str, Any] = {"metadata": {"name": "a.b", "namespace": "n"}}
    if kind == "podtemplates":
        plain["template"] = TEMPLATE
    else:
        plain["spec"] = {"selector": selector, "template": TEMPLATE}
    strategy, made = STRATEGIES[kind], writer.create(kind, plain)
    found = [text for text in strategy.warnings(made) if "stored" not in text]
    assert any("fractional byte value" in text for text in found)
    assert any(text.startswith("metadata.name: ") for text in found) == name
    again = writer.update(kind, plain, plain)
    assert [text for text in strategy.warnings(again, made) if "stored" not in text] == []
    again.metadata.generation += 1
    assert any("fractional byte value" in text for text in strategy.warnings(again, made))


def test_changes_of_pods_are_not_told_of(writer: Writer) -> None:
    plain = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [CONTAINER]}}
    pod = writer.create("pods", plain)
    assert STRATEGIES["pods"].warnings(pod) != []
    assert STRATEGIES["pods"].warnings(pod, pod) == []


def test_warnings_cost_no_more_than_they_tell() -> None:
    """Ports of one number, and files of one name: pairs of them are no work for the server."""
    ports = tuple(
        ContainerPort(containerPort=80, hostPort=n % 60000 + 1, hostIP=f"10.0.{n >> 8}.{n & 255}")
        for n in range(20000)
    )
    items = tuple(KeyToPath(key="k", path="a/" * (n % 50) + "f") for n in range(20000))
    volume = Volume(name="v", configMap=ConfigMapVolumeSource(name="m", items=items))
    same = tuple(ContainerPort(containerPort=80) for _ in range(20000))
    for given in (ports, same):
        container = Container(name="c", image="i", ports=given)
        spec = PodSpec(containers=(container,), volumes=(volume,))
        start = time.process_time()
        found = podwarnings.of_pod(spec, ObjectMeta(name="p"))
        assert time.process_time() - start < 1.0
        assert len(found) <= podwarnings.TEXTS_MAX


def test_certificates_and_keys_that_do_not_belong_together() -> None:
    authority = CertificateAuthority.create("a", SystemClock())
    pair = authority.issue_server("a.b")
    assert pairs.problem(pair.certificate_pem, pair.key_pem) == ""
    other = "tls: private key does not match public key"
    assert pairs.problem(pair.certificate_pem, make_key()) == other
    text = "tls: failed to find any PEM data in certificate input"
    assert pairs.problem(b"x", b"y") == text
    text = "tls: failed to find any PEM data in key input"
    assert pairs.problem(pair.certificate_pem, b"") == text
    for pem in (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"-----BEGIN "):
        assert pairs.problem(pem, pair.key_pem).startswith("x509: ")
        assert pairs.problem(pair.certificate_pem, pem) == "tls: failed to parse private key"


@pytest.mark.parametrize("old", [False, True])
def test_a_secret_with_the_wrong_key(writer: Writer, old: bool) -> None:
    plain = {
        "metadata": {"name": "s", "namespace": "n"},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": "eA==", "tls.key": "eQ=="},
    }
    secret = writer.create("secrets", plain)
    found = STRATEGIES["secrets"].warnings(secret, secret if old else None)
    assert found == ["tls: failed to find any PEM data in certificate input"]
