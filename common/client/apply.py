"""Apply objects and wait until they are what they should be.

`progress` is pure; its sentences are those of `kubectl rollout status`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

from common.api import errors
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.client.grpc import GrpcClient


class Progress(NamedTuple):
    """How far an object is, in words. `failed`: it will not come further by itself."""

    done: bool
    text: str
    failed: bool = False


def resource_of(plain: Any) -> Resource:
    """The resource of a manifest; raises StatusError 400 when it says none that is served."""
    if not isinstance(plain, dict):
        raise errors.bad_request("a manifest must be an object")
    version, kind = str(plain.get("apiVersion", "")), str(plain.get("kind", ""))
    resource = SCHEME.resource_of(version, kind)
    if resource is None:
        raise errors.bad_request(f'no matches for kind "{kind}" in version "{version}"')
    return resource


async def apply(
    client: GrpcClient, plain: Mapping[str, Any], namespace: str = "default"
) -> tuple[str, dict[str, Any]]:
    """Create an object, or change it by a JSON merge patch: (created|configured|unchanged, it).

    Members that a manifest leaves out stay as they are; lists are replaced as a whole, but for
    those of pods: the API server has added to them, and may not see them shortened.
    `namespace` is for manifests that name none. Raises StatusError.
    """
    resource = resource_of(plain)
    meta = plain.get("metadata") or {}
    if not isinstance(meta, Mapping):
        raise errors.bad_request("metadata of a manifest must be an object")
    name = str(meta.get("name", ""))
    space = str(meta.get("namespace") or namespace) if resource.namespaced else ""
    if not name:
        raise errors.bad_request("resource name may not be empty")
    try:
        before = codec.decode_plain(await client.get(resource, space, name))
    except StatusError as error:
        if error.code != 404:
            raise
        created = await client.create(resource, space, codec.encode(dict(plain)))
        return "created", codec.decode_plain(created)
    strategic = resource.kind == "Pod"
    changed = await client.patch(resource, space, name, plain, strategic=strategic)
    after = codec.decode_plain(changed)
    same = after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    return "unchanged" if same else "configured", after


async def follow(client: GrpcClient, plain: Mapping[str, Any]) -> AsyncIterator[Progress]:
    """How far an object is, each time that it has changed, until it is done or has failed.

    Raises StatusError 404 when it is deleted meanwhile.
    """
    resource, meta = resource_of(plain), plain["metadata"]
    last = None
    while True:
        events = client.watch(
            resource, meta.get("namespace", ""), field_selector=f"metadata.name={meta['name']}"
        )
        async with contextlib.aclosing(events):
            try:
                async for batch in events:
                    for event in batch:
                        if event.type == "DELETED":
                            raise errors.not_found(resource, meta["name"])
                        if event.type == "BOOKMARK":
                            continue
                        now = progress(codec.decode_plain(event.data))
                        if now != last:
                            last = now
                            yield now
                        if now.done or now.failed:
                            return
            except StatusError as error:
                if error.code != 410:
                    raise


def progress(plain: Mapping[str, Any]) -> Progress:
    """How far an object is; kinds without a state to reach are done."""
    kind = plain["kind"]
    meta, status = plain["metadata"], plain.get("status") or {}
    name = f'{kind.lower()} "{meta["name"]}"'
    if kind == "Pod":
        return _pod(name, status)
    if kind not in _WORKLOADS:
        return Progress(True, f"{name} is there")
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        return Progress(False, f"Waiting for {kind.lower()} spec update to be observed...")
    return _WORKLOADS[kind](name, plain.get("spec") or {}, status)


def _pod(name: str, status: Mapping[str, Any]) -> Progress:
    phase = status.get("phase", "Pending")
    if phase == "Succeeded":
        return Progress(True, f"{name} has completed")
    if phase == "Failed":
        return Progress(False, f"{name} has failed", failed=True)
    if _condition(status, "Ready").get("status") == "True":
        return Progress(True, f"{name} is ready")
    why = ", ".join(dict.fromkeys(waiting["reason"] for waiting in _waiting(status)))
    return Progress(False, f"Waiting for {name} to be ready: {why or phase}...")


def _waiting(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What containers of a pod wait for, where they say so."""
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason"):
                yield waiting


def trouble(pod: Mapping[str, Any]) -> str:
    """Why a pod does not come to run, in the words of its status; '' when nothing is known."""
    texts = (": ".join(filter(None, (o.get("reason"), o.get("message")))) for o in _obstacles(pod))
    text = "; ".join(dict.fromkeys(texts))
    return f'pod "{pod["metadata"]["name"]}": {text}' if text else ""


_ORDINARY = frozenset({"ContainerCreating", "PodInitializing"})


def _obstacles(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    status = pod.get("status") or {}
    scheduled = _condition(status, "PodScheduled")
    conditions = [scheduled] if scheduled.get("status") == "False" else []
    return conditions + [one for one in _waiting(status) if one["reason"] not in _ORDINARY]


async def follow_troubles(client: GrpcClient, plain: Mapping[str, Any]) -> AsyncIterator[str]:
    """Why pods of an applied object do not run, each reason of each pod once, until cancelled."""
    meta, pods = plain["metadata"], client.resource("pods")
    fields = f"metadata.name={meta['name']}" if plain["kind"] == "Pod" else ""
    selector = _selector(plain) if plain["kind"] in _WORKLOADS else ""
    if not fields and not selector:
        return
    told = set()
    events = client.watch(
        pods, meta.get("namespace", ""), label_selector=selector, field_selector=fields
    )
    async with contextlib.aclosing(events):
        async for event in (one async for batch in events for one in batch):
            if event.type in ("DELETED", "BOOKMARK"):
                continue
            pod = codec.decode_plain(event.data)
            key = (pod["metadata"]["name"], *(one.get("reason") for one in _obstacles(pod)))
            if key not in told and (text := trouble(pod)):
                told.add(key)
                yield text


def _selector(plain: Mapping[str, Any]) -> str:
    """The labels that a workload's pods have, as a query."""
    selector = (plain.get("spec") or {}).get("selector") or {}
    labels = selector if plain["kind"] == "ReplicationController" else selector.get("matchLabels")
    return ",".join(f"{key}={value}" for key, value in (labels or {}).items())


def _deployment(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    progressing = _condition(status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Progress(False, f"{name} exceeded its progress deadline", failed=True)
    wanted, total = spec.get("replicas", 1), status.get("replicas", 0)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    waiting = f"Waiting for {name} rollout to finish"
    if updated < wanted:
        return Progress(
            False, f"{waiting}: {updated} out of {wanted} new replicas have been updated..."
        )
    if total > updated:
        return Progress(
            False, f"{waiting}: {total - updated} old replicas are pending termination..."
        )
    if available < updated:
        return Progress(
            False, f"{waiting}: {available} of {updated} updated replicas are available..."
        )
    return Progress(True, f"{name} successfully rolled out")


def _replicas(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    if ready < wanted:
        return Progress(False, f"Waiting for {name}: {ready} of {wanted} replicas are ready...")
    return Progress(True, f"{name} is ready")


def _daemon_set(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    wanted = status.get("desiredNumberScheduled", 0)
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    waiting = f"Waiting for {name} rollout to finish"
    if updated < wanted:
        return Progress(
            False, f"{waiting}: {updated} out of {wanted} new pods have been updated..."
        )
    if available < wanted:
        return Progress(False, f"{waiting}: {available} of {wanted} updated pods are available...")
    return Progress(True, f"{name} successfully rolled out")


_WORKLOADS = {
    "Deployment": _deployment,
    "DaemonSet": _daemon_set,
    "ReplicaSet": _replicas,
    "ReplicationController": _replicas,
    "StatefulSet": _replicas,
}


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of that type, empty when there is none."""
    conditions = (c for c in status.get("conditions") or () if c.get("type") == kind)
    return next(conditions, {})
