"""Events: core/v1 Event is stored for an hour; events.k8s.io/v1 Event is a view of the same."""

from __future__ import annotations

from typing import Any, ClassVar

from common.api import errors, names
from common.api.codec import json as codec
from common.api.errors import FieldError
from common.api.resource import Resource
from common.api.types.core_v1 import Event
from master.apiserver.registry.strategy import Strategy

# Member of events.k8s.io/v1 -> member of core/v1; all others have the same name in both.
_NAMES = {
    "reportingController": "reportingComponent",
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK = {core: view for view, core in _NAMES.items()}


class EventStrategy(Strategy):
    """Events expire an hour after their last occurrence."""

    has_dependents: ClassVar[bool] = False
    ttl_seconds: ClassVar[int | None] = 3600

    def name_problems(self, name: str) -> list[str]:
        """Names of events contain names of any object."""
        return names.path_segment(name)

    def validate(self, obj: Event) -> list[FieldError]:
        """An event lives in the namespace of the object that it is about."""
        namespace = obj.involvedObject.namespace
        expected = namespace or "default"
        if obj.metadata.namespace != expected and not (
            not namespace and obj.metadata.namespace in ("default", "kube-system")
        ):
            text = "does not match event.namespace"
            return [errors.invalid("involvedObject.namespace", namespace, text)]
        return []


class EventView:
    """events.k8s.io/v1 Event as a view of core/v1 Event."""

    def __init__(self, source: Resource) -> None:
        self.source = source

    def outbound(self, data: bytes) -> bytes:
        """From core/v1 to events.k8s.io/v1."""
        plain = codec.decode_plain(data)
        made: dict[str, Any] = {"apiVersion": "events.k8s.io/v1", "kind": "Event"}
        for name, value in plain.items():
            if name not in ("apiVersion", "kind"):
                made[_BACK.get(name, name)] = value
        return codec.encode(made)

    def inbound(self, plain: dict[str, Any]) -> dict[str, Any]:
        """From events.k8s.io/v1 to core/v1."""
        if not isinstance(plain, dict):
            raise errors.bad_request("the body is not an object")
        made: dict[str, Any] = {}
        for name, value in plain.items():
            made[_NAMES.get(name, name)] = value
        made["apiVersion"], made["kind"] = "v1", "Event"
        return made
