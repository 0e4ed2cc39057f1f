"""Plain values to etcd's messages and back.

aetcd's generated stubs have no types, so that `Any` is confined to this file.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from aetcd.rpc import kv_pb2, rpc_pb2, rpc_pb2_grpc

from common.etcd.types import (
    Alarm,
    Compare,
    Delete,
    Event,
    Get,
    KeyValue,
    Operation,
    Put,
    RangeResult,
    Status,
    TxnResult,
)

_ALARM = re.compile(r"memberID:(\d+) alarm:(\w+)")
"""In what a member says is wrong. To ask for alarms themselves would be a write each time."""
_EQUAL, _NOT_EQUAL = rpc_pb2.Compare.EQUAL, rpc_pb2.Compare.NOT_EQUAL
_MOD = rpc_pb2.Compare.MOD


class Stubs:
    """etcd's services on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.kv: Any = rpc_pb2_grpc.KVStub(channel)
        self.watch: Any = rpc_pb2_grpc.WatchStub(channel)
        self.lease: Any = rpc_pb2_grpc.LeaseStub(channel)
        self.maintenance: Any = rpc_pb2_grpc.MaintenanceStub(channel)


def range_request(
    key: bytes, range_end: bytes, *, limit: int, revision: int, count_only: bool
) -> Any:
    """A linearizable range in key order."""
    return rpc_pb2.RangeRequest(
        key=key, range_end=range_end, limit=limit, revision=revision, count_only=count_only
    )


def range_result(response: Any) -> RangeResult:
    """What a range found."""
    items = tuple(map(key_value, response.kvs))
    return RangeResult(items, response.more, response.count, response.header.revision)


def txn_request(
    compare: Iterable[Compare], success: Iterable[Operation], failure: Iterable[Operation]
) -> Any:
    """A transaction: `success` runs if every comparison holds, otherwise `failure`."""
    return rpc_pb2.TxnRequest(
        compare=[_compare(one) for one in compare],
        success=[_operation(one) for one in success],
        failure=[_operation(one) for one in failure],
    )


def txn_result(response: Any) -> TxnResult:
    """What a transaction did and read."""
    read = tuple(tuple(map(key_value, one.response_range.kvs)) for one in response.responses)
    return TxnResult(response.succeeded, response.header.revision, read)


def _compare(compare: Compare) -> Any:
    return rpc_pb2.Compare(
        result=_EQUAL if compare.equal else _NOT_EQUAL,
        target=_MOD,
        key=compare.key,
        mod_revision=compare.revision,
    )


def _operation(operation: Operation) -> Any:
    match operation:
        case Get(key):
            return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))
        case Put(key, value, lease):
            put = rpc_pb2.PutRequest(
                key=key, value=value, lease=lease or 0, ignore_lease=lease is None
            )
            return rpc_pb2.RequestOp(request_put=put)
        case Delete(key):
            return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))


def watch_request(
    key: bytes, range_end: bytes, *, start_revision: int, previous: bool, progress: bool
) -> Any:
    """Open a watch; large batches may come in fragments."""
    create = rpc_pb2.WatchCreateRequest(
        key=key,
        range_end=range_end,
        start_revision=start_revision,
        prev_kv=previous,
        progress_notify=progress,
        fragment=True,
    )
    return rpc_pb2.WatchRequest(create_request=create)


def events(messages: Sequence[Any]) -> list[Event]:
    """The events of a watch response."""
    return [
        Event(
            deleted=message.type == kv_pb2.Event.DELETE,
            item=key_value(message.kv),
            previous=key_value(message.prev_kv) if message.HasField("prev_kv") else None,
        )
        for message in messages
    ]


def key_value(message: Any) -> KeyValue:
    """One key."""
    return KeyValue(
        message.key, message.value, message.create_revision, message.mod_revision, message.lease
    )


def compact_request(revision: int, *, physical: bool) -> Any:
    """Forget what was before `revision`; the answer comes when it is gone, if `physical`."""
    return rpc_pb2.CompactionRequest(revision=revision, physical=physical)


def grant_request(ttl_seconds: int) -> Any:
    """A new lease."""
    return rpc_pb2.LeaseGrantRequest(TTL=ttl_seconds)


def revoke_request(lease: int) -> Any:
    """The end of a lease and of its keys."""
    return rpc_pb2.LeaseRevokeRequest(ID=lease)


def keepalive_request(lease: int) -> Any:
    """A sign of life for a lease."""
    return rpc_pb2.LeaseKeepAliveRequest(ID=lease)


def status_request() -> Any:
    """Who are you?"""
    return rpc_pb2.StatusRequest()


def status(response: Any) -> Status:
    """Who answers."""
    return Status(
        cluster_id=response.header.cluster_id,
        member_id=response.header.member_id,
        leader_id=response.leader,
        version=response.version,
        revision=response.header.revision,
        database_bytes=response.dbSize,
        in_use_bytes=response.dbSizeInUse,
        alarms=tuple(
            Alarm(int(match[1]), match[2])
            for text in response.errors
            if (match := _ALARM.search(text))
        ),
    )


def defragment_request() -> Any:
    """Give the free space of one member's database back."""
    return rpc_pb2.DefragmentRequest()


def disarm_request(alarm: Alarm) -> Any:
    """An alarm's cause was mended."""
    kind = rpc_pb2.AlarmType.Value(alarm.kind)
    action = rpc_pb2.AlarmRequest.DEACTIVATE
    return rpc_pb2.AlarmRequest(action=action, memberID=alarm.member_id, alarm=kind)
