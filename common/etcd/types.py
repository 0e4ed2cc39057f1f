"""What is said to etcd and what it says, as plain values."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Tls:
    """How to reach etcd over TLS. All PEM.

    Without an authority those are trusted that gRPC brings along. `server_name` is common to all
    endpoints; '' when the certificate of each has the endpoint's own.
    """

    ca_pem: bytes | None
    certificate_pem: bytes | None
    key_pem: bytes | None = field(repr=False)
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key at one revision. `lease` is 0 when it lives until it is deleted."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class RangeResult:
    """A page of keys in order. `count` is of the whole range asked for, not of the page."""

    items: tuple[KeyValue, ...]
    more: bool
    count: int
    revision: int


@dataclass(frozen=True, slots=True)
class Compare:
    """The key's modification revision equals `revision` (0 = there is no such key), or differs."""

    key: bytes
    revision: int
    equal: bool = True


@dataclass(frozen=True, slots=True)
class Get:
    """Read one key within a transaction."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Put:
    """Write one key within a transaction. `lease` None keeps the lease that the key has."""

    key: bytes
    value: bytes
    lease: int | None = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one key within a transaction; nothing happens when it is not there."""

    key: bytes


Operation = Get | Put | Delete


@dataclass(frozen=True, slots=True)
class TxnResult:
    """Which branch ran, the revision after it, and for each operation what it read."""

    succeeded: bool
    revision: int
    responses: tuple[tuple[KeyValue, ...], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One change. A deletion has no value, and its `mod_revision` is that of the deletion."""

    deleted: bool
    item: KeyValue
    previous: KeyValue | None


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Events in order, never a part of a revision. Without events it is a sign of life only."""

    events: tuple[Event, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """What etcd has found to be wrong, and keeps until it is told that it was mended."""

    member_id: int
    kind: str
    """NOSPACE: the quota is reached. CORRUPT: members have different data."""


@dataclass(frozen=True, slots=True)
class Status:
    """Who answers, and in which state it is."""

    cluster_id: int
    member_id: int
    leader_id: int
    version: str
    revision: int
    database_bytes: int
    in_use_bytes: int = 0
    """Of the database; the rest is free, and would be given back by defragmentation."""
    alarms: tuple[Alarm, ...] = ()
    """Of the whole cluster."""
