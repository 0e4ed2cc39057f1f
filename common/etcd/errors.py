"""What can go wrong with etcd. gRPC's own errors never leave this package."""

import grpc


class EtcdError(Exception):
    """Anything that etcd refused; the message is etcd's."""


class Unavailable(EtcdError):
    """etcd could not be asked, or did not answer a question in time. Nothing was changed."""


class Busy(Unavailable):
    """etcd has more to do than it can: to ask elsewhere would not help."""


class OutcomeUnknown(EtcdError):
    """A write was sent and no answer came: it may be done, or be done later."""


class Compacted(EtcdError):
    """The revision asked for is gone. `revision` is the oldest one that is left, 0 if not told."""

    def __init__(self, revision: int = 0) -> None:
        super().__init__(f"required revision has been compacted (up to {revision})")
        self.revision = revision


class FutureRevision(EtcdError):
    """The revision asked for does not exist yet."""


class NoSpace(EtcdError):
    """The database has reached its quota: writes are refused until it is made smaller."""


class TooLarge(EtcdError):
    """The request is larger than etcd takes."""


class LeaseNotFound(EtcdError):
    """The lease has expired or was revoked."""


class Refused(EtcdError):
    """etcd does not accept our certificate or our rights."""


_NEVER_SENT = ("failed to connect", "no leader")

_BY_DETAILS: tuple[tuple[str, type[EtcdError]], ...] = (
    ("has been compacted", Compacted),
    ("is a future revision", FutureRevision),
    ("database space exceeded", NoSpace),
    ("request is too large", TooLarge),
    ("larger than max", TooLarge),
    ("lease not found", LeaseNotFound),
    ("too many requests", Busy),
)

_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

_UNANSWERED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


def translate(code: grpc.StatusCode, details: str, *, write: bool) -> EtcdError:
    """The error of ours for a gRPC status; `write` says that the request could change data."""
    for text, kind in _BY_DETAILS:
        if text in details:
            return Compacted() if kind is Compacted else kind(details)
    if code in _REFUSED:
        return Refused(details)
    if code not in _UNANSWERED:
        return EtcdError(f"{code.name}: {details}")
    message = f"{code.name.lower().replace('_', ' ')}: {details}"
    if write and not any(text in details for text in _NEVER_SENT):
        return OutcomeUnknown(message)
    return Unavailable(message)
