"""The audit log: one line of JSON a write, and a refusal. Never what an object contains.

Lines are Kubernetes' audit events at the level Metadata, for whatever reads those. Source:
https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from common.api import times
from common.api.errors import StatusError
from common.limits.ratelimit import TokenBucket
from common.limits.ratelimitedlog import RateLimitedLog
from common.runtime.clock import Clock
from common.security.identity import Identity
from master.apiserver.request.target import Target

log = logging.getLogger(__name__)
FILE_MAX_BYTES = 20 << 20
FILES_MAX = 5
"""The file that is written to, and those before it: `.1` is the youngest."""
REFUSALS_A_SECOND = 10.0
REFUSALS_BURST = 200.0
"""Anybody can cause as many as they like: past that rate they are counted, not written."""
TEXT_MAX_CHARACTERS = 1024
READS = frozenset(("get", "head", "list", "watch"))
ANNOTATION = "wherry.dev/"
STARTED, COMPLETE = "ResponseStarted", "ResponseComplete"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


class Caller(NamedTuple):
    """Who calls. `user` has the rights; `by` has logged in, another one who acts as the user."""

    user: Identity
    by: Identity
    source: str = ""
    """The address; empty for a part of this master."""
    agent: str = ""


NOBODY = Identity("")


@dataclass(slots=True)
class Call:
    """A verb on a target, or on a path that is no resource, and the object that came of it."""

    caller: Caller
    verb: str
    target: Target | None
    path: str
    """Of what is no resource."""
    received: datetime
    name: str = ""
    uid: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """What admission has to say of it."""

    def made(self, data: bytes) -> None:
        """Take name and uid of the object that was created."""
        made = msgspec.json.decode(data, type=_Made)
        self.name, self.uid = made.metadata.name, made.metadata.uid


class _Metadata(msgspec.Struct):
    name: str = ""
    uid: str = ""


class _Made(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


def event(
    call: Call, audit_id: str, error: StatusError | None, now: datetime, stage: str = COMPLETE
) -> dict[str, Any]:
    """The audit event of a call that has been answered, with an error or without. Pure."""
    caller = call.caller
    allowed = error is None or error.code not in (401, 403)
    made: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id,
        "stage": stage,
        "requestURI": call.target.path if call.target else call.path[:TEXT_MAX_CHARACTERS],
        "verb": call.verb,
        "user": _user(caller.by),
        "sourceIPs": [caller.source] if caller.source else [],
        "userAgent": caller.agent[:TEXT_MAX_CHARACTERS],
        "responseStatus": _status(call.verb, error),
        "requestReceivedTimestamp": times.to_micro_time(call.received),
        "stageTimestamp": times.to_micro_time(now),
        "annotations": {
            "authorization.k8s.io/decision": "allow" if allowed else "forbid",
            f"{ANNOTATION}authenticated-by": authenticated_by(caller),
            **call.annotations,
        },
    }
    if caller.user != caller.by:
        made["impersonatedUser"] = _user(caller.user)
    if call.target is not None:
        made["objectRef"] = _object(call, call.target)
    return made


def authenticated_by(caller: Caller) -> str:
    """How the caller has proven who they are, with the number of the proof where it has one."""
    by = caller.by
    if not by.user:
        return "nothing"
    if by.serial:
        return f"certificate {by.serial}"
    if by.bound:
        return f"service account token {', '.join(by.extra.get(CREDENTIAL_ID, ()))}"
    return "token" if caller.source else "a part of the master"


def _user(user: Identity) -> dict[str, Any]:
    user_info: dict[str, Any] = {"username": user.user, "groups": list(user.groups)}
    if user.uid:
        user_info["uid"] = user.uid
    if user.extra:
        user_info["extra"] = {name: list(values) for name, values in user.extra.items()}
    return user_info


def _status(verb: str, error: StatusError | None) -> dict[str, Any]:
    if error is None:
        return {"code": 201 if verb == "create" else 200}
    said = {"status": "Failure", "code": error.code, "reason": error.reason}
    return {**said, "message": error.message[:TEXT_MAX_CHARACTERS]}


def _object(call: Call, target: Target) -> dict[str, str]:
    resource = target.resource
    reference = {
        "resource": resource.plural,
        "namespace": target.namespace,
        "name": target.name or call.name,
        "uid": call.uid,
        "apiGroup": resource.group,
        "apiVersion": resource.version,
        "subresource": target.subresource,
    }
    return {name: value for name, value in reference.items() if value}


class AuditLog:
    """Appends events to a file, and begins a new one when that has become large.

    Nothing is refused because it cannot be written, as on a full disk: the next event that can be
    says how many are missing.
    """

    def __init__(self, path: Path | None, clock: Clock, new_id: Any) -> None:
        """Without a path nothing is written. `new_id` makes ids of events."""
        self._path = path
        self._clock = clock
        self._new_id = new_id
        self._refusals = TokenBucket(per_second=REFUSALS_A_SECOND, burst=REFUSALS_BURST)
        self._left_out = 0
        self._lost = 0
        self._descriptor = -1
        self._size = 0
        self._torn = False
        self._log = RateLimitedLog(log, clock, per_second=0.1, burst=1.0)

    def started(self, call: Call) -> None:
        """Write down that a stream has begun, unless it only reads: it may last for hours."""
        self._record(call, None, STARTED)

    def record(self, call: Call, error: StatusError | None = None) -> None:
        """Write down a call that has been answered, if it was a write or has been refused."""
        self._record(call, error, COMPLETE)

    def _record(self, call: Call, error: StatusError | None, stage: str) -> None:
        if self._path is None:
            return
        refused = error is not None and error.code in (401, 403)
        if not refused and call.verb in READS:
            return
        if refused and not self._refusals.take(self._clock.monotonic()):
            self._left_out += 1
            return
        made = event(call, self._new_id(), error, self._clock.now(), stage)
        for name, count in (("left-out", self._left_out), ("lost", self._lost)):
            if count:
                made["annotations"][ANNOTATION + name] = str(count)
        try:
            self._append(self._path, msgspec.json.encode(made) + b"\n")
        except OSError as failure:
            self._lost += 1
            self._close()
            self._log.warning("the audit log cannot be written", object=self._path, error=failure)
        else:
            self._left_out = self._lost = 0

    def _append(self, path: Path, line: bytes) -> None:
        """Write a line, whole: after a torn one it begins anew. Raises OSError."""
        if self._size > FILE_MAX_BYTES:
            self._rotate(path)
        if self._descriptor < 0:
            self._open(path)
        data = b"\n" + line if self._torn else line
        written = os.write(self._descriptor, data)
        self._size += written
        self._torn = written < len(data)
        if self._torn:
            raise OSError("only a part of a line was written")

    def _open(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        last = os.pread(self._descriptor, 1, self._size - 1) if self._size else b"\n"
        self._torn = last != b"\n"

    def _rotate(self, path: Path) -> None:
        self._close()
        for number in range(FILES_MAX - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            newer = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
        self._size = 0

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
