"""Pod Security Standards: what a namespace refuses, warns of and has written down."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from common.api import errors
from common.api.scheme import SCHEME
from common.api.types.core_v1 import EphemeralContainer, Namespace, Pod
from common.security.identity import Identity
from master.apiserver.admission.podsecurity.evaluation import violations
from master.apiserver.admission.podsecurity.policy import PREFIX, Policy, Standard, policy_of
from master.apiserver.registry.freshness import fresh
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from tests.unit.apiserver.conftest import Writer
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

PODS, NAMESPACES = (SCHEME.require("", "v1", name) for name in ("pods", "namespaces"))
DEPLOYMENTS = SCHEME.require("apps", "v1", "deployments")
HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def with_context(**context: Any) -> dict[str, Any]:
    """A pod whose one container has this security context."""
    return {"containers": [{"name": "web", "image": "x", "securityContext": context}]}


def told(level: str, version: str = "latest", **spec: Any) -> str:
    """What a pod violates of a standard."""
    one = msgspec.convert(pod(**spec), Pod)
    return ", ".join(map(str, violations(Standard(level, version), one.metadata, one.spec)))


def baseline(**spec: Any) -> str:
    return told("baseline", **spec)


def restricted(**context: Any) -> str:
    return told("restricted", **with_context(**{**HARDENED, **context}))


@pytest.mark.parametrize(
    ("spec", "violation"),
    [
        ({}, ""),
        (
            {"hostNetwork": True, "hostPID": True},
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            {"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b"}]},
            'hostPath volumes (volume "a")',
        ),
        (
            with_context(privileged=True),
            'privileged (container "web" must not set securityContext.privileged=true)',
        ),
        (
            with_context(capabilities={"add": ["NET_RAW", "CHOWN", "SYS_ADMIN"]}),
            'non-default capabilities (container "web" must not include "NET_RAW", "SYS_ADMIN" in '
            "securityContext.capabilities.add)",
        ),
        (
            with_context(procMount="Unmasked"),
            'procMount (container "web" must not set securityContext.procMount to "Unmasked")',
        ),
        ({**with_context(procMount="Unmasked"), "hostUsers": False}, ""),
        (
            {"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 80}]}]},
            'hostPort (container "a" uses hostPort 80)',
        ),
        (
            {
                "initContainers": [{"name": "i", "ports": [{"containerPort": 1, "hostPort": 9}]}],
                "containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 80}]}],
            },
            'hostPort (containers "i", "a" use hostPorts 80, 9)',
        ),
        (
            {"ephemeralContainers": [{"name": "e", "securityContext": {"privileged": True}}]},
            'privileged (container "e" must not set securityContext.privileged=true)',
        ),
        (
            {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": 1, "host": "h"}}}]},
            'probe or lifecycle host (container "a" uses probe or lifecycle host "h")',
        ),
        (
            {
                "containers": [
                    {"name": "a", "lifecycle": {"preStop": {"tcpSocket": {"port": 1, "host": "g"}}}}
                ]
            },
            'probe or lifecycle host (container "a" uses probe or lifecycle host "g")',
        ),
        (
            {
                **with_context(seLinuxOptions={"type": "spc_t", "user": "u"}),
                "securityContext": {"seLinuxOptions": {"role": "r"}},
            },
            'seLinuxOptions (pod and container "web" set forbidden securityContext.seLinuxOptions: '
            'type "spc_t"; user may not be set; role may not be set)',
        ),
        (with_context(seLinuxOptions={"type": "container_engine_t", "level": "s0"}), ""),
        (
            {
                **with_context(seccompProfile={"type": "Unconfined"}),
                "securityContext": {"seccompProfile": {"type": "Unconfined"}},
            },
            'seccompProfile (pod and container "web" must not set '
            'securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            {
                "securityContext": {
                    "sysctls": [
                        {"name": "kernel.msgmax", "value": "1"},
                        {"name": "net.ipv4.tcp_rmem", "value": "1"},
                    ]
                }
            },
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            with_context(appArmorProfile={"type": "Unconfined"}),
            'forbidden AppArmor profile (container "web" must not set AppArmor profile type to '
            '"Unconfined")',
        ),
        (
            with_context(windowsOptions={"hostProcess": True}),
            'hostProcess (container "web" must not set '
            "securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            {"hostIPC": True, **with_context(privileged=True)},
            "host namespaces (hostIPC=true), "
            'privileged (container "web" must not set securityContext.privileged=true)',
        ),
    ],
)
def test_baseline(spec: dict[str, Any], violation: str) -> None:
    assert baseline(**spec) == violation
    assert told("privileged", **spec) == ""


def test_an_annotation_may_name_a_profile_too() -> None:
    plain = pod()
    plain["metadata"]["annotations"] = {
        "container.apparmor.security.beta.kubernetes.io/web": "unconfined",
        "container.apparmor.security.beta.kubernetes.io/other": "localhost/x",
    }
    one = msgspec.convert(plain, Pod)
    [found] = violations(Standard("baseline"), one.metadata, one.spec)
    assert found.detail == (
        "annotation must not set AppArmor profile type to "
        '"container.apparmor.security.beta.kubernetes.io/web="unconfined""'
    )


@pytest.mark.parametrize(
    ("context", "violation"),
    [
        ({}, ""),
        (
            {"allowPrivilegeEscalation": None},
            'allowPrivilegeEscalation != false (container "web" must set '
            "securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            {"capabilities": {"add": ["CHOWN", "NET_BIND_SERVICE"]}},
            'unrestricted capabilities (container "web" must set '
            'securityContext.capabilities.drop=["ALL"]; container "web" must not include "CHOWN" '
            "in securityContext.capabilities.add)",
        ),
        (
            {"runAsNonRoot": None},
            'runAsNonRoot != true (pod or container "web" must set '
            "securityContext.runAsNonRoot=true)",
        ),
        (
            {"runAsNonRoot": False},
            'runAsNonRoot != true (container "web" must not set '
            "securityContext.runAsNonRoot=false)",
        ),
        ({"runAsUser": 0}, 'runAsUser=0 (container "web" must not set runAsUser=0)'),
        (
            {"seccompProfile": None},
            'seccompProfile (pod or container "web" must set securityContext.seccompProfile.type '
            'to "RuntimeDefault" or "Localhost")',
        ),
        (
            {"seccompProfile": {"type": "Unconfined"}},
            'seccompProfile (container "web" must not set securityContext.seccompProfile.type to '
            '"Unconfined")',
        ),
    ],
)
def test_restricted(context: dict[str, Any], violation: str) -> None:
    assert restricted(**context) == violation


def test_restricted_takes_what_the_pod_says_for_its_containers() -> None:
    of_pod = {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}
    context = {**HARDENED, "runAsNonRoot": None, "seccompProfile": None}
    assert told("restricted", securityContext=of_pod, **with_context(**context)) == ""
    assert told("restricted", os={"name": "windows"}, **with_context(runAsNonRoot=True)) == ""


def test_restricted_volumes() -> None:
    volumes = [
        {"name": "a", "hostPath": {"path": "/"}},
        {"name": "b", "nfs": {"server": "s", "path": "/"}},
        {"name": "c", "emptyDir": {}},
        {"name": "d", "projected": {}},
    ]
    assert told("restricted", volumes=volumes, **with_context(**HARDENED)) == (
        'restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")'
    )


def test_a_version_is_judged_by_what_it_knew() -> None:
    tcp = {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]}}
    assert told("baseline", "v1.31", **tcp) == "forbidden sysctls (net.ipv4.tcp_rmem)"
    assert told("baseline", "v1.32", **tcp) == told("baseline", "v1.99", **tcp) == ""
    hosts = {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": 1, "host": "h"}}}]}
    assert told("baseline", "v1.33", **hosts) == ""
    assert "runAsUser" not in told("restricted", "v1.22", **with_context(runAsUser=0))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, Policy()),
        (
            {"enforce": "baseline"},
            Policy(enforce=Standard("baseline"), warn=Standard("baseline")),
        ),
        (
            {"enforce": "baseline", "enforce-version": "v1.30"},
            Policy(enforce=Standard("baseline", "v1.30"), warn=Standard("baseline", "v1.30")),
        ),
        (
            {"enforce": "baseline", "warn": "restricted", "audit": "restricted"},
            Policy(Standard("baseline"), Standard("restricted"), Standard("restricted")),
        ),
        ({"enforce": "strict"}, Policy(enforce=Standard("restricted"))),
        ({"warn": "strict", "audit": "x"}, Policy()),
    ],
)
def test_policies(labels: dict[str, str], expected: Policy) -> None:
    assert policy_of({f"{PREFIX}{name}": value for name, value in labels.items()}) == expected


# ----------------------------------------------------------------------------- through the pipeline


async def label(pipeline: Pipeline, ctx: Context, **labels: str) -> None:
    """Set the labels of the namespace `n`."""

    def change(current: Namespace) -> Namespace:
        current.metadata.labels = {
            f"{PREFIX}{name.replace('_', '-')}": value for name, value in labels.items()
        }
        return current

    await fresh(pipeline.cache)
    await pipeline.update(ctx, Target(NAMESPACES, "", "n"), change)
    await fresh(pipeline.cache)


def context() -> Context:
    return Context(user=Identity("user", ()))


async def make(pipeline: Pipeline, writer: Writer, name: str, **spec: Any) -> Context:
    """Create a pod; answers what was said beside it."""
    obj = writer.decode("pods", pod(**spec))
    obj.metadata.name, ctx = name, context()
    await pipeline.create(ctx, Target(PODS, "n"), obj)
    return ctx


async def test_a_namespace_refuses_warns_and_writes_down(
    pipeline: Pipeline, writer: Writer
) -> None:
    await make(pipeline, writer, "before", hostNetwork=True)
    ctx = context()
    await label(pipeline, ctx, enforce="baseline", warn="restricted", audit="restricted")
    assert list(ctx.warnings) == [
        'existing pods in namespace "n" violate the new PodSecurity enforce level '
        '"baseline:latest"',
        "before: host namespaces",
    ]
    with pytest.raises(errors.StatusError) as raised:
        await make(pipeline, writer, "bad", hostPID=True)
    assert (raised.value.code, raised.value.message) == (
        403,
        'pods "bad" is forbidden: violates PodSecurity "baseline:latest": '
        "host namespaces (hostPID=true)",
    )
    ctx = await make(pipeline, writer, "fair")
    [warning] = ctx.warnings
    assert warning.startswith('would violate PodSecurity "restricted:latest": allowPrivilegeEsc')
    assert ctx.audit == {f"{PREFIX}audit-violations": warning}


async def test_many_pods_are_told_by_what_is_wrong(pipeline: Pipeline, writer: Writer) -> None:
    for name in ("c", "a", "b"):
        await make(pipeline, writer, name, hostNetwork=True)
    await make(pipeline, writer, "d", **with_context(privileged=True))
    ctx = context()
    await label(pipeline, ctx, enforce="baseline")
    assert list(ctx.warnings)[1:] == ["a (and 2 other pods): host namespaces", "d: privileged"]
    for no_more in ({"enforce": "baseline", "warn": "restricted"}, {"enforce": "privileged"}):
        ctx = context()
        await label(pipeline, ctx, **no_more)
        assert list(ctx.warnings) == []


async def test_what_makes_pods_is_warned_of_only(pipeline: Pipeline, writer: Writer) -> None:
    await label(pipeline, context(), enforce="baseline")
    plain = {
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod(hostIPC=True)["spec"]},
        },
    }
    ctx = context()
    obj = writer.decode("deployments.apps", plain)
    await pipeline.create(ctx, Target(DEPLOYMENTS, "n"), obj)
    assert list(ctx.warnings) == [
        'would violate PodSecurity "baseline:latest": host namespaces (hostIPC=true)'
    ]


async def test_only_a_change_of_images_is_judged_again(pipeline: Pipeline, writer: Writer) -> None:
    await make(pipeline, writer, "old", hostNetwork=True)
    await label(pipeline, context(), enforce="baseline")

    def relabel(current: Pod) -> Pod:
        current.metadata.labels = {"a": "b"}
        return current

    def reimage(current: Pod) -> Pod:
        current.spec.containers[0].image = "other"
        return current

    await pipeline.update(context(), Target(PODS, "n", "old"), relabel)
    with pytest.raises(errors.StatusError, match="violates PodSecurity"):
        await pipeline.update(context(), Target(PODS, "n", "old"), reimage)


async def test_a_look_inside_of_a_pod_is_judged_too(pipeline: Pipeline, writer: Writer) -> None:
    await make(pipeline, writer, "web")
    await label(pipeline, context(), enforce="baseline")
    look = {"name": "look", "image": "x", "securityContext": {"privileged": True}}

    def add(current: Pod) -> Pod:
        current.spec.ephemeralContainers = (msgspec.convert(look, EphemeralContainer),)
        return current

    target = Target(PODS, "n", "web", "ephemeralcontainers")
    with pytest.raises(errors.StatusError, match=r'privileged \(container "look" must not set'):
        await pipeline.update(context(), target, add)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"enforce": "strict"}, "must be one of privileged, baseline, restricted"),
        ({"warn_version": "1.30"}, 'must be "latest" or "v1.x"'),
        ({"audit_version": "v1.030"}, 'must be "latest" or "v1.x"'),
    ],
)
async def test_labels_that_nobody_can_read(
    pipeline: Pipeline, labels: dict[str, str], problem: str
) -> None:
    with pytest.raises(errors.StatusError) as raised:
        await label(pipeline, context(), **labels)
    assert raised.value.code == 422
    assert problem in raised.value.message
