"""What a reconcile may ask for. A command is data with a reason; a shell carries it out.

Deletes name the UID that was seen, never just a name. Updates carry the resourceVersion that was
seen, so that they fail rather than overwrite what somebody else wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from common.api.resource import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Create `body`. With generateName the shell picks the name before it sends."""

    resource: Resource
    namespace: str
    body: msgspec.Struct
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Replace an object, or its status, scale or finalize subresource."""

    resource: Resource
    body: msgspec.Struct
    reason: str
    subresource: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """JSON merge patch; `{"metadata": {"uid": ...}}` in it pins the object."""

    resource: Resource
    namespace: str
    name: str
    patch: Mapping[str, Any]
    reason: str
    subresource: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete the object with this UID."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    reason: str
    grace_period_seconds: int | None = None
    propagation_policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Record an Event about an object: type Normal or Warning, CamelCase reason, message."""

    about: Mapping[str, str]
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeue:
    """Reconcile the same key again after a while."""

    after_seconds: float
    reason: str


Command = Create | Update | Patch | Delete | Event | Requeue
