"""Deletion with any number that a client may have given."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.api import times
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.security.identity import Identity
from master.apiserver.registry import deletion
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.reads import decode_token, encode_token
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, ListOptions
from master.apiserver.request.target import Target
from tests.fakes import registry as fakes
from tests.unit.apiserver.conftest import STRATEGIES, Writer
from tests.unit.apiserver.request.test_patches import refused, resource

PODS = resource("", "v1", "pods")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = [0, 1, -1, 30, 10**17 - 1, 2**31, 2**63 - 1, -(2**63)]


def running(grace: int) -> Any:
    """A pod on a node."""
    plain = {
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {
            "nodeName": "n1",
            "terminationGracePeriodSeconds": grace,
            "containers": [{"name": "c", "image": "i"}],
        },
    }
    return Writer().create("pods", plain)


@pytest.mark.parametrize("asked", [None, *NUMBERS])
@pytest.mark.parametrize("grace", NUMBERS)
def test_every_pod_can_be_deleted_and_shown(grace: int, asked: int | None) -> None:
    pod, strategy = running(grace), STRATEGIES["pods"]
    options = DeleteOptions(grace_period_seconds=asked)
    gone = deletion.plan(pod, strategy, options, NOW).remove
    effective = strategy.grace_period_seconds(pod, asked)
    assert gone == (effective == 0)
    if not gone:
        held = pod.metadata.deletionGracePeriodSeconds
        assert held == min(effective, int((times.later(NOW, effective) - NOW).total_seconds()))
        end = times.parse(pod.metadata.deletionTimestamp)
        assert end == NOW + timedelta(seconds=held)
        assert times.age_seconds(pod.metadata.deletionTimestamp, NOW) == -held


@pytest.mark.parametrize("first", [n for n in NUMBERS if n > 1])
def test_a_second_deletion_shortens_any_first(first: int) -> None:
    pod, strategy = running(first), STRATEGIES["pods"]
    deletion.plan(pod, strategy, DeleteOptions(), NOW)
    later = NOW + timedelta(seconds=5)
    assert not deletion.plan(pod, strategy, DeleteOptions(grace_period_seconds=10), later).remove
    assert pod.metadata.deletionTimestamp == "2026-01-01T00:00:10Z"
    later = NOW + timedelta(seconds=15)
    assert not deletion.plan(pod, strategy, DeleteOptions(grace_period_seconds=9), later).remove
    assert pod.metadata.deletionTimestamp == "2026-01-01T00:00:15Z"
    assert pod.metadata.deletionGracePeriodSeconds == 1
    assert deletion.plan(pod, strategy, DeleteOptions(grace_period_seconds=0), later).remove


@pytest.mark.parametrize(
    "rv", [2**63, 2**64, 10**30, -(2**63) - 1, 0, -2, 1.5, True, None, "1", [], {}]
)
async def test_forged_continue_tokens_are_refused(pipeline: Pipeline, rv: Any) -> None:
    plain = {"rv": rv, "start": "a", "v": "wherry/v1"}
    token = base64.urlsafe_b64encode(json.dumps(plain).encode()).decode()
    reads = fakes.reads(pipeline)
    error = await refused(reads.list(PODS, "n", ListOptions(continue_token=token)))
    assert error.code == 400


async def test_a_token_may_not_come_with_a_revision(pipeline: Pipeline) -> None:
    reads = fakes.reads(pipeline)
    options = ListOptions(continue_token="x", resource_version="5")
    error = await refused(reads.list(PODS, "n", options))
    assert error.message == "specifying resource version is not allowed when using continue"


async def test_the_largest_revision_of_a_token_is_only_too_new(pipeline: Pipeline) -> None:
    reads = fakes.reads(pipeline)
    prefix = reads.prefix(PODS, "n")
    token = encode_token(2**63 - 1, f"{prefix}a", prefix)
    assert decode_token(token, prefix).rv == 2**63 - 1
    error = await refused(reads.list(PODS, "n", ListOptions(continue_token=token)))
    assert error.code == 504


async def test_a_pod_with_the_longest_grace_goes_through_the_pipeline(pipeline: Pipeline) -> None:
    ctx = Context(user=Identity("u"))
    await pipeline.create(ctx, Target(PODS, "n"), running(2**63 - 1))
    found, gone = await pipeline.delete(ctx, Target(PODS, "n", "p"), DeleteOptions())
    assert not gone
    assert b'"deletionTimestamp":"9999-12-31T23:59:59Z"' in found
    options = DeleteOptions(grace_period_seconds=0)
    assert (await pipeline.delete(ctx, Target(PODS, "n", "p"), options))[1]


@pytest.mark.parametrize(
    ("kind", "asked", "there", "finalizers"),
    [
        ("replicationcontrollers", "", (), ("orphan",)),
        ("replicationcontrollers", "Background", (), ()),
        ("replicationcontrollers", "Foreground", ("a.b/c",), ("a.b/c", "foregroundDeletion")),
        ("replicationcontrollers", "", ("foregroundDeletion",), ("foregroundDeletion",)),
        ("replicasets.apps", "", (), ()),
        ("replicasets.apps", "", ("orphan",), ("orphan",)),
        ("replicasets.apps", "Orphan", ("foregroundDeletion",), ("orphan",)),
        ("events", "Foreground", (), ()),
        ("events", "Orphan", (), ()),
    ],
)
def test_what_becomes_of_dependents(
    kind: str, asked: str, there: tuple[str, ...], finalizers: tuple[str, ...]
) -> None:
    strategy = STRATEGIES[kind]
    obj: Any = SCHEME.struct_of(strategy.resource)()
    obj.metadata.finalizers = there
    deletion.plan(obj, strategy, DeleteOptions(propagation_policy=asked), NOW)
    assert obj.metadata.finalizers == finalizers


def test_policies_that_do_not_exist() -> None:
    pod = running(1)
    with pytest.raises(StatusError) as raised:
        deletion.plan(pod, STRATEGIES["pods"], DeleteOptions(propagation_policy="Later"), NOW)
    assert (raised.value.code, raised.value.message) == (
        422,
        'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Later": '
        'supported values: "Foreground", "Background", "Orphan", "nil"',
    )
