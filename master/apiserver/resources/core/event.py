"""Events: core/v1 Event is stored for an hour; events.k8s.io/v1 Event is a view of the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from common.api import errors, names
from common.api.codec import json as codec
from common.api.errors import FieldError
from common.api.fields import Field, fields
from common.api.resource import Resource
from common.api.types.core_v1 import Event
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.filters import renamed
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.lib import cells
from master.apiserver.resources.lib.checks import Findings, immutable, named

FIELDS = fields(
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "type",
) | {"source": Field(paths=("source.component", "reportingComponent"))}

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
_LASTING = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)
_SELECTED = {
    **{
        f"regarding.{name}": f"involvedObject.{name}"
        for name in (
            "kind",
            "namespace",
            "name",
            "uid",
            "apiVersion",
            "resourceVersion",
            "fieldPath",
        )
    },
    "reason": "reason",
    "reportingController": "reportingComponent",
    "type": "type",
    "metadata.namespace": "metadata.namespace",
    "metadata.name": "metadata.name",
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
        """An event lives in the namespace of its object; a new one says who acted, and why."""
        findings = errors.first(_namespace(obj))
        return findings + errors.first(_attribution(obj, "reportingComponent"))


def _namespace(obj: Event) -> Findings:
    namespace, about = obj.metadata.namespace, obj.involvedObject.namespace
    if obj.eventTime is None:
        fits = namespace == (about or "default")
    else:
        fits = bool(about) or namespace in ("default", "kube-system")
    if not fits:
        text = "does not match event.namespace"
        yield errors.invalid("involvedObject.namespace", about, text)


def _attribution(obj: Event, reporter: str) -> Findings:
    """What an event with an eventTime must say; `reporter` is what the version calls it."""
    if obj.eventTime is None:
        return
    if not obj.reportingComponent:
        yield errors.required(reporter)
    yield from named(reporter, obj.reportingComponent, names.qualified_name)
    for name, limit in (("reportingInstance", 128), ("action", 128), ("reason", 128)):
        if not getattr(obj, name):
            yield errors.required(name)
        yield from _at_most(name, getattr(obj, name), limit)
    yield from _at_most("message", obj.message, 1024)


def _at_most(path: str, text: str, limit: int) -> Findings:
    if len(text.encode(errors="replace")) > limit:
        yield errors.invalid(path, "", f"can have at most {limit} characters")


def _series(obj: Event) -> Findings:
    if obj.series is None:
        return
    if obj.series.count < 2:
        yield errors.invalid("series.count", "", "should be at least 2")
    if obj.series.lastObservedTime is None:
        yield errors.required("series.lastObservedTime")


def _new(obj: Event) -> Findings:
    """What events.k8s.io/v1 asks of a new event, beside what core/v1 asks."""
    yield from _attribution(obj, "reportingController")
    if obj.metadata.name:
        yield from named("metadata.name", obj.metadata.name, names.dns_subdomain)
    yield from _series(obj)
    if obj.eventTime is None:
        yield errors.required("eventTime")
    if obj.type not in ("Normal", "Warning"):
        yield errors.invalid("type", "", f"has invalid value: {obj.type}")
    old = (("firstTimestamp", None), ("lastTimestamp", None), ("count", 0))
    for name, unset in old:
        if getattr(obj, name) != unset:
            yield errors.invalid(name, "", "needs to be unset")
    if obj.source.component or obj.source.host:
        yield errors.invalid("source", "", "needs to be unset")


def _changed(new: Event, old: Event) -> Findings:
    """What of a change events.k8s.io/v1 refuses: an event is news, only its series goes on."""
    yield from _attribution(new, "reportingController")
    if new.series != old.series:
        yield from _series(new)
    for name in _LASTING:
        shown = "reportingController" if name == "reportingComponent" else name
        yield from immutable(shown, getattr(new, name), getattr(old, name))


class EventView:
    """events.k8s.io/v1 Event as a view of core/v1 Event, with rules of its own."""

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

    def selector(self, text: str) -> str:
        """Fields by the names that core/v1 has for them."""
        return renamed(text, _SELECTED)

    def check(self, new: Event, old: Event | None) -> None:
        """Raise StatusError 422 for an event that this version refuses, though core/v1 takes it."""
        findings = errors.first(_new(new) if old is None else _changed(new, old))
        if findings:
            raise errors.invalid_object("", "Event", new.metadata.name, findings)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of an Event, of either group: the same object under two sets of names."""
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    series = obj.get("series") or {}
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    kind, name = about.get("kind", "").lower(), about.get("name", "")
    return {
        "Last Seen": cells.age(series.get("lastObservedTime") or last, now),
        "Object": f"{kind}/{name}" if name else kind,
        "Subobject": about.get("fieldPath", ""),
        "Source": _source(obj),
        "Message": (obj.get("message") or obj.get("note") or "").strip(),
        "First Seen": cells.age(first, now),
        "Count": series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1,
    }


def _source(obj: dict[str, Any]) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    reporter = obj.get("reportingComponent") or obj.get("reportingController") or ""
    component = source.get("component") or reporter
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


RULES = {
    "events": Rules(EventStrategy, cells_of, FIELDS),
    "events.events.k8s.io": Rules(cells=cells_of),
}
