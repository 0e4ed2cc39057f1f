"""What admission adds to pods, and which it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
)
from common.api.types.core_v1 import (
    LocalObjectReference,
    Namespace,
    Service,
    ServiceAccount,
    ServicePort,
    ServiceSpec,
)
from common.api.types.meta_v1 import ObjectMeta
from common.security.csr import make_key, make_request
from common.security.identity import Identity
from master.apiserver.admission.chain import admission
from master.apiserver.admission.plugins.default_tolerations import default_tolerations
from master.apiserver.admission.plugins.external_ips import deny_external_ips
from master.apiserver.admission.plugins.priority import priority
from master.apiserver.admission.plugins.service_account import PodServiceAccount
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions
from master.apiserver.request.target import Target
from master.storage.keys import registry_key
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache
from tests.fakes.clock import FakeClock
from tests.fakes.rng import SeededRng
from tests.fakes.roles import authorizer
from tests.unit.apiserver.conftest import STRATEGIES, Writer
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

CONTEXT = Context(user=Identity("user", ()))
PODS = STRATEGIES["pods"].resource
SERVICES = STRATEGIES["services"].resource
NAMESPACES = STRATEGIES["namespaces"].resource
REQUESTS = STRATEGIES["certificatesigningrequests.certificates.k8s.io"].resource


@pytest.fixture
async def store() -> MemoryStore:
    return MemoryStore(FakeClock())


@pytest.fixture
async def cache(store: MemoryStore) -> AsyncIterator[WatchCache]:
    made = WatchCache(store, FakeClock())
    running = asyncio.create_task(made.run())
    await made.wait_for(await store.revision(), 5.0)
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def make(writer: Writer, **spec: Any) -> Any:
    made = writer.create("pods", pod(**spec))
    made.metadata.namespace = "n"
    return made


async def add_account(store: MemoryStore, name: str, *secrets: str) -> None:
    account = ServiceAccount()
    account.imagePullSecrets = tuple(LocalObjectReference(name=secret) for secret in secrets)
    await store.create(registry_key("serviceaccounts", name, "n"), codec.encode(account))


async def test_pods_run_as_the_default_account(
    store: MemoryStore, cache: WatchCache, writer: Writer
) -> None:
    await add_account(store, "default", "registry")
    made = make(writer)
    await PodServiceAccount(cache, SeededRng())(CONTEXT, Target(PODS, "n"), made, None)
    assert (made.spec.serviceAccountName, made.spec.serviceAccount) == ("default", "default")
    assert [secret.name for secret in made.spec.imagePullSecrets] == ["registry"]


async def test_own_pull_secrets_stay(store: MemoryStore, cache: WatchCache, writer: Writer) -> None:
    await add_account(store, "default", "registry")
    made = make(writer, imagePullSecrets=[{"name": "mine"}])
    await PodServiceAccount(cache, SeededRng())(CONTEXT, Target(PODS, "n"), made, None)
    assert [secret.name for secret in made.spec.imagePullSecrets] == ["mine"]


@pytest.mark.parametrize("name", ["robot", "../x", "a/b"])
async def test_accounts_must_exist(cache: WatchCache, writer: Writer, name: str) -> None:
    made = make(writer, serviceAccountName=name)
    with pytest.raises(errors.StatusError) as raised:
        await PodServiceAccount(cache, SeededRng())(CONTEXT, Target(PODS, "n"), made, None)
    assert raised.value.code == 403
    assert raised.value.message == (
        f'pods "a" is forbidden: error looking up service account n/{name}: '
        f'serviceaccount "{name}" not found'
    )


async def test_containers_get_the_token_of_the_account(
    store: MemoryStore, cache: WatchCache, writer: Writer
) -> None:
    """The volume and its mounts are Kubernetes' own to the letter."""
    await add_account(store, "default")
    made = make(
        writer,
        initContainers=[{"name": "first", "image": "i"}],
        volumes=[{"name": "mine", "emptyDir": {}}],
    )
    await PodServiceAccount(cache, SeededRng())(CONTEXT, Target(PODS, "n"), made, None)
    spec = codec.decode_plain(codec.encode(made.spec))
    name = spec["volumes"][1]["name"]
    assert re.fullmatch("kube-api-access-[a-z0-9]{5}", name)
    assert spec["volumes"][1:] == [
        {
            "name": name,
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {
                        "configMap": {
                            "name": "kube-root-ca.crt",
                            "items": [{"key": "ca.crt", "path": "ca.crt"}],
                        }
                    },
                    {
                        "downwardAPI": {
                            "items": [
                                {
                                    "path": "namespace",
                                    "fieldRef": {
                                        "apiVersion": "v1",
                                        "fieldPath": "metadata.namespace",
                                    },
                                }
                            ]
                        }
                    },
                ],
                "defaultMode": 420,
            },
        }
    ]
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["volumeMounts"] == [
            {
                "name": name,
                "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            }
        ]
    assert list(STRATEGIES["pods"].validate(made)) == []


@pytest.mark.parametrize(
    ("of_pod", "of_account", "mounted"),
    [
        (None, None, True),
        (None, False, False),
        (None, True, True),
        (False, True, False),
        (True, False, True),
    ],
)
async def test_pod_and_account_decide_on_the_token(
    store: MemoryStore,
    cache: WatchCache,
    writer: Writer,
    of_pod: bool | None,
    of_account: bool | None,
    mounted: bool,
) -> None:
    account = ServiceAccount(automountServiceAccountToken=of_account)
    await store.create(registry_key("serviceaccounts", "default", "n"), codec.encode(account))
    made = make(writer, automountServiceAccountToken=of_pod)
    await PodServiceAccount(cache, SeededRng())(CONTEXT, Target(PODS, "n"), made, None)
    assert bool(made.spec.volumes) == bool(made.spec.containers[0].volumeMounts) == mounted


async def test_what_a_pod_has_at_the_place_of_the_token_stays(
    store: MemoryStore, cache: WatchCache, writer: Writer
) -> None:
    await add_account(store, "default")
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    mount = {"name": "mine", "mountPath": path}
    own = {"name": "a", "image": "i", "volumeMounts": [mount]}
    volumes = [{"name": "mine", "emptyDir": {}}]
    made = make(writer, containers=[own], volumes=volumes)
    await PodServiceAccount(cache, SeededRng())(CONTEXT, Target(PODS, "n"), made, None)
    assert [volume.name for volume in made.spec.volumes] == ["mine"]
    assert [mount.name for mount in made.spec.containers[0].volumeMounts] == ["mine"]
    volumes = [{"name": "kube-api-access-x", "emptyDir": {}}]
    made = make(writer, volumes=volumes)
    await PodServiceAccount(cache, SeededRng())(CONTEXT, Target(PODS, "n"), made, None)
    assert [volume.name for volume in made.spec.volumes] == ["kube-api-access-x"]
    assert [mount.name for mount in made.spec.containers[0].volumeMounts] == ["kube-api-access-x"]


async def test_mirror_pods_and_updates_need_no_account(cache: WatchCache, writer: Writer) -> None:
    made = make(writer)
    step = PodServiceAccount(cache, SeededRng())
    await step(CONTEXT, Target(PODS, "n"), made, make(writer))
    made.metadata.annotations["kubernetes.io/config.mirror"] = "x"
    await step(CONTEXT, Target(PODS, "n"), made, None)
    assert made.spec.serviceAccountName == ""
    assert made.spec.volumes == ()


NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ([], [NOT_READY, UNREACHABLE]),
        ([{"key": NOT_READY, "operator": "Exists", "tolerationSeconds": 1}], [UNREACHABLE]),
        ([{"operator": "Exists"}], []),
        ([{"operator": "Exists", "effect": "NoSchedule"}], [NOT_READY, UNREACHABLE]),
        ([{"key": "other", "operator": "Exists"}], [NOT_READY, UNREACHABLE]),
    ],
)
async def test_default_tolerations(
    writer: Writer, given: list[dict[str, Any]], added: list[str]
) -> None:
    made = make(writer, tolerations=given)
    await default_tolerations(CONTEXT, Target(PODS, "n"), made, None)
    found = made.spec.tolerations[len(given) :]
    assert [toleration.key for toleration in found] == added
    assert all((t.effect, t.tolerationSeconds) == ("NoExecute", 300) for t in found)
    await default_tolerations(CONTEXT, Target(PODS, "n"), made, None)
    assert len(made.spec.tolerations) == len(given) + len(added)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("", 0), ("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)],
)
async def test_priority(writer: Writer, name: str, expected: int) -> None:
    made = make(writer, priorityClassName=name)
    await priority(CONTEXT, Target(PODS, "n"), made, None)
    assert (made.spec.priority, made.spec.preemptionPolicy) == (expected, "PreemptLowerPriority")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"priorityClassName": "x"}, "no PriorityClass with name x was found"),
        ({"priority": 5}, "the integer value of priority (5) must not be provided in pod spec"),
        ({"preemptionPolicy": "Never"}, "the string value of PreemptionPolicy (Never) must not"),
    ],
)
async def test_bad_priorities(writer: Writer, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.StatusError) as raised:
        await priority(CONTEXT, Target(PODS, "n"), make(writer, **spec), None)
    assert raised.value.code == 403
    assert f'pods "a" is forbidden: {message}' in raised.value.message


async def test_priority_stays(writer: Writer) -> None:
    old, new = make(writer, priority=7), make(writer)
    await priority(CONTEXT, Target(PODS, "n"), new, old)
    assert new.spec.priority == 7


async def test_other_kinds_pass(store: MemoryStore, cache: WatchCache, writer: Writer) -> None:
    await store.create(registry_key("namespaces", "n"), b'{"metadata":{}}')
    await cache.wait_for(await store.revision(), 5.0)
    made = writer.create("configmaps", {"metadata": {"name": "a"}})
    made.metadata.namespace = "n"
    before = codec.encode(made)
    steps = admission(cache, SCHEME, FakeClock(), SeededRng(), authorizer())
    for phase in (steps.mutate, steps.validate):
        await phase(CONTEXT, Target(STRATEGIES["configmaps"].resource, "n"), made, None)
    assert codec.encode(made) == before


@pytest.mark.parametrize("name", ["default", "kube-node-lease", "kube-public", "kube-system"])
async def test_some_namespaces_stay(pipeline: Pipeline, name: str) -> None:
    obj, _ = codec.convert_request({"metadata": {"name": name}}, Namespace)
    await pipeline.create(CONTEXT, Target(NAMESPACES), obj)
    with pytest.raises(errors.StatusError) as raised:
        await pipeline.delete(CONTEXT, Target(NAMESPACES, "", name), DeleteOptions())
    assert (raised.value.code, raised.value.reason) == (403, "Forbidden")
    assert raised.value.message == (
        f'namespaces "{name}" is forbidden: this namespace may not be deleted'
    )


PEM = make_request(make_key(), "system:node:n1", ["system:nodes"])


def signing_request(signer: str) -> CertificateSigningRequest:
    """What a machine that joins asks for, or somebody who pretends to be one."""
    return CertificateSigningRequest(
        metadata=ObjectMeta(name="join"),
        spec=CertificateSigningRequestSpec(
            request=PEM, signerName=signer, usages=("client auth",), username="system:admin"
        ),
    )


async def test_a_join_token_is_for_the_certificate_of_a_node(pipeline: Pipeline) -> None:
    joining = Context(user=Identity("system:bootstrap:abcdef", ("system:bootstrappers",)))
    wanted = signing_request("kubernetes.io/kube-apiserver-client-kubelet")
    data = await pipeline.create(joining, Target(REQUESTS), wanted)
    spec = codec.decode(data, CertificateSigningRequest).spec
    assert (spec.username, spec.groups) == ("system:bootstrap:abcdef", ("system:bootstrappers",))
    with pytest.raises(errors.StatusError) as raised:
        await pipeline.create(joining, Target(REQUESTS), signing_request("example.com/other"))
    assert raised.value.code == 403
    await pipeline.delete(CONTEXT, Target(REQUESTS, "", "join"), DeleteOptions())
    await pipeline.create(CONTEXT, Target(REQUESTS), signing_request("example.com/other"))


@pytest.mark.parametrize(
    ("signer", "group", "code"),
    [
        ("kubernetes.io/kube-apiserver-client", "system:masters", 403),
        ("kubernetes.io/kube-apiserver-client", "viewers", None),
        ("example.com/other", "system:masters", None),
    ],
)
async def test_the_signer_of_clients_is_asked_for_no_administrator(
    pipeline: Pipeline, signer: str, group: str, code: int | None
) -> None:
    asked = signing_request(signer)
    asked.spec.request = make_request(make_key(), "mia", [group])
    if code is None:
        await pipeline.create(CONTEXT, Target(REQUESTS), asked)
        return
    with pytest.raises(errors.StatusError) as raised:
        await pipeline.create(CONTEXT, Target(REQUESTS), asked)
    assert raised.value.code == code
    assert raised.value.message.endswith(
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )


async def test_a_request_goes_a_day_after_its_last_change(pipeline: Pipeline) -> None:
    await pipeline.create(CONTEXT, Target(REQUESTS), signing_request("example.com/other"))
    assert isinstance(pipeline.clock, FakeClock)
    await pipeline.clock.advance(24 * 3600 - 60)

    def approve(current: CertificateSigningRequest) -> CertificateSigningRequest:
        approved = CertificateSigningRequestCondition(type="Approved", status="True")
        current.status.conditions = (approved,)
        return current

    await pipeline.update(CONTEXT, Target(REQUESTS, "", "join", "approval"), approve)
    await pipeline.clock.advance(24 * 3600 - 60)
    await pipeline.read(Target(REQUESTS, "", "join"))
    await pipeline.clock.advance(120)
    with pytest.raises(errors.StatusError) as raised:
        await pipeline.read(Target(REQUESTS, "", "join"))
    assert raised.value.code == 404


async def test_external_ips_are_denied_but_stay(pipeline: Pipeline) -> None:
    def service(*addresses: str) -> Service:
        spec = ServiceSpec(ports=(ServicePort(port=80),), externalIPs=addresses)
        return Service(metadata=ObjectMeta(name="s"), spec=spec)

    denied = 'services "s" is forbidden: Use of external IPs is denied by admission control'
    with pytest.raises(errors.StatusError) as raised:
        await pipeline.create(CONTEXT, Target(SERVICES, "n"), service("192.0.2.1"))
    assert (raised.value.code, raised.value.message) == (403, denied)
    old = service("192.0.2.1", "192.0.2.2")
    for addresses in ((), ("192.0.2.2",), ("192.0.2.1", "192.0.2.2")):
        await deny_external_ips(CONTEXT, Target(SERVICES, "n"), service(*addresses), old)
    with pytest.raises(errors.StatusError):
        await deny_external_ips(CONTEXT, Target(SERVICES, "n"), service("192.0.2.3"), old)


async def test_external_ips_are_taken_where_they_are_allowed(pipeline: Pipeline) -> None:
    steps = admission(pipeline.cache, SCHEME, FakeClock(), SeededRng(), authorizer())
    allowed = admission(
        pipeline.cache, SCHEME, FakeClock(), SeededRng(), authorizer(), allow_external_ips=True
    )
    assert deny_external_ips in steps.validating
    assert deny_external_ips not in allowed.validating
    assert len(allowed.validating) == len(steps.validating) - 1
    assert len(allowed.mutating) == len(steps.mutating)
