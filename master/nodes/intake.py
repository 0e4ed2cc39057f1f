"""What a message of a node may hold, checked field by field before anything is done with it.

Pure: messages in, values or `Refused` out. A node is trusted with its own pods and its own Node,
and with no more than what a well-behaved one needs: docs/decisions/0012-bounds.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from google.protobuf.message import Message

from common.api import names
from protos import node_v1_pb2

NODE_MAX_BYTES = 512 << 10
"""A Node with its status; with 50 images it has some 20 KiB."""
POD_STATUS_MAX_BYTES = 256 << 10
REFERENCE_MAX_BYTES = 4 << 10
REASON_MAX = 128
MESSAGE_MAX = 1024
WORD_MAX = 253
ITEMS_MAX = 1024
"""Pods of a report of usage, and containers of each."""
AMOUNT_MAX = 1 << 62
TIMESTAMP_MAX_MS = 253_402_300_799_000
"""The end of the year 9999, which the API's times reach."""
WINDOW_MAX_MS = 3_600_000

IsOwnPod = Callable[[str, str, str], bool]
"""(namespace, name, uid) -> whether it is a pod of the node that the event comes from."""


class Refused(Exception):
    """A message that is not taken, and why; nothing of it has been acted on."""


class Occurrence(NamedTuple):
    """An event as it may be recorded."""

    about: dict[str, str]
    type: str
    reason: str
    message: str


class _About(msgspec.Struct):
    """The members of an ObjectReference."""

    apiVersion: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    fieldPath: str = ""


def check_hello(hello: node_v1_pb2.Hello) -> None:
    """The first message of a stream. Raises Refused."""
    for field in ("boot_id", "machine_id", "version", "trusts"):
        _check_length(field, getattr(hello, field), WORD_MAX)
    _check_length("node", hello.node, NODE_MAX_BYTES)


def check(message: node_v1_pb2.FromNode) -> None:
    """Any later message but an event. Raises Refused."""
    match message.WhichOneof("message"):
        case "heartbeat":
            if message.heartbeat.HasField("usage"):
                _check_usage(message.heartbeat.usage)
        case "node":
            _check_length("status", message.node.status, NODE_MAX_BYTES)
        case "pod":
            _check_pod(message.pod)
            _check_length("status", message.pod.status, POD_STATUS_MAX_BYTES)
        case "gone":
            _check_pod(message.gone)


def occurrence(report: node_v1_pb2.EventReport, node: str, is_own: IsOwnPod) -> Occurrence:
    """The event of a report, when it is about the node or one of its pods. Raises Refused."""
    _check_length("involved_object", report.involved_object, REFERENCE_MAX_BYTES)
    try:
        about = msgspec.json.decode(report.involved_object, type=_About)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refused(f"involved_object: {error}") from error
    if report.type not in ("Normal", "Warning"):
        raise Refused(f"type {report.type[:20]!r} is neither Normal nor Warning")
    if not 0 < len(report.reason) <= REASON_MAX:
        raise Refused(f"reason: 1 to {REASON_MAX} characters")
    of_node = (about.apiVersion, about.kind, about.name) == ("v1", "Node", node)
    of_pod = (about.apiVersion, about.kind) == ("v1", "Pod")
    if not of_node and not (of_pod and is_own(about.namespace, about.name, about.uid)):
        what = f"{about.kind[:63]} {about.namespace[:63]}/{about.name[:WORD_MAX]}"
        raise Refused(f"an event about {what}, which is not this node's")
    _check_length("fieldPath", about.fieldPath, WORD_MAX * 2)
    known = {name: value for name, value in msgspec.structs.asdict(about).items() if value}
    return Occurrence(known, report.type, report.reason, report.message[:MESSAGE_MAX])


def _check_length(field: str, value: str | bytes, limit: int) -> None:
    if len(value) > limit:
        raise Refused(f"{field}: {len(value)} are more than {limit}")


def _check_pod(pod: node_v1_pb2.PodReport | node_v1_pb2.PodGone) -> None:
    """The names by which a pod is found."""
    if names.dns_label(pod.namespace) or names.dns_subdomain(pod.name):
        where = f"{pod.namespace[:63]}/{pod.name[:WORD_MAX]}"
        raise Refused(f"{where!r} is not the name of a pod")
    _check_length("uid", pod.uid, WORD_MAX)


def _check_usage(usage: node_v1_pb2.NodeUsage) -> None:
    if not 0 <= usage.timestamp_ms <= TIMESTAMP_MAX_MS:
        raise Refused(f"usage: {usage.timestamp_ms} ms is not a time")
    if not 0 <= usage.window_ms <= WINDOW_MAX_MS:
        raise Refused(f"usage: a window of {usage.window_ms} ms")
    if not math.isfinite(usage.load_1m):
        raise Refused("usage: load_1m is no number")
    if len(usage.pods) > ITEMS_MAX or any(len(pod.containers) > ITEMS_MAX for pod in usage.pods):
        raise Refused(f"usage: more than {ITEMS_MAX} pods, or containers of one")
    _check_amounts(usage, _NODE_AMOUNTS)
    for pod in usage.pods:
        for word in (pod.namespace, pod.name, pod.uid, *(one.name for one in pod.containers)):
            _check_length("usage", word, WORD_MAX)
        for container in pod.containers:
            _check_amounts(container, _CONTAINER_AMOUNTS)


def _amounts(usage: type[Message]) -> tuple[str, ...]:
    """The fields that are amounts. Heartbeats are the most frequent messages: asked only once."""
    names = [field.name for field in usage.DESCRIPTOR.fields]
    return tuple(name for name in names if name.endswith(("_bytes", "_nanocores")))


_NODE_AMOUNTS = _amounts(node_v1_pb2.NodeUsage)
_CONTAINER_AMOUNTS = _amounts(node_v1_pb2.ContainerUsage)


def _check_amounts(usage: Message, fields: Sequence[str]) -> None:
    for name in fields:
        value = getattr(usage, name)
        if not 0 <= value <= AMOUNT_MAX:
            raise Refused(f"usage: {name} is {value}")
