"""What needs no etcd: prefixes, and gRPC's errors in our words."""

import grpc
import pytest

from common.etcd.client import prefix_end
from common.etcd.errors import (
    Busy,
    Compacted,
    EtcdError,
    FutureRevision,
    LeaseNotFound,
    NoSpace,
    OutcomeUnknown,
    Refused,
    TooLarge,
    Unavailable,
    translate,
)

Code = grpc.StatusCode


def test_prefix_end_is_behind_all_keys_of_the_prefix() -> None:
    assert b"/a/\xff\xff" < prefix_end(b"/a/") < b"/ab"


@pytest.mark.parametrize(
    ("code", "details", "on_read", "on_write"),
    [
        (Code.UNAVAILABLE, "Socket closed", Unavailable, OutcomeUnknown),
        (Code.UNAVAILABLE, "etcdserver: request timed out", Unavailable, OutcomeUnknown),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", Unavailable, OutcomeUnknown),
        (Code.UNAVAILABLE, "failed to connect to all addresses", Unavailable, Unavailable),
        (Code.OUT_OF_RANGE, "mvcc: required revision has been compacted", Compacted, Compacted),
        (
            Code.OUT_OF_RANGE,
            "required revision is a future revision",
            FutureRevision,
            FutureRevision,
        ),
        (Code.RESOURCE_EXHAUSTED, "mvcc: database space exceeded", NoSpace, NoSpace),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Busy, Busy),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", TooLarge, TooLarge),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", LeaseNotFound, LeaseNotFound),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Refused, Refused),
        (Code.INVALID_ARGUMENT, "etcdserver: duplicate key given", EtcdError, EtcdError),
    ],
)
def test_errors(
    code: Code, details: str, on_read: type[EtcdError], on_write: type[EtcdError]
) -> None:
    assert type(translate(code, details, write=False)) is on_read
    assert type(translate(code, details, write=True)) is on_write
