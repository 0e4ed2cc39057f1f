"""The event recorder: Kubernetes Events about objects, counted instead of repeated.

The correlation is pure (`Correlator`); `EventRecorder` writes what it decides. Events are a
best-effort help for people: a full queue drops them, and nothing ever waits for one.
Source: k8s.io/client-go tools/record.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from common.api import times
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.api.types import Time, core_v1, meta_v1
from common.client.api import ApiClient
from common.runtime.clock import Clock

log = logging.getLogger(__name__)
KNOWN_MAX = 4096
QUEUE_MAX = 1000
BURST = 25
REFILL_SECONDS = 300.0


class Recorded(NamedTuple):
    """An Event to write; with `update` it exists already and has been counted up."""

    event: core_v1.Event
    update: bool


class Correlator:
    """Turns occurrences into Events: the same again is counted, a flood about one object is cut."""

    def __init__(self, component: str, host: str = "") -> None:
        self._component = component
        self._host = host
        self._known: OrderedDict[str, tuple[str, str, int]] = OrderedDict()
        self._budget: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def observe(
        self,
        about: Mapping[str, str],
        kind: str,
        reason: str,
        message: str,
        *,
        now: datetime,
        monotonic: float,
    ) -> Recorded | None:
        """The Event for one occurrence, or None when its object has had too many lately.

        What was lately is counted in `monotonic` seconds: a clock that is set mutes nobody.
        """
        if not self._allowed(about.get("uid", "") or about.get("name", ""), monotonic):
            return None
        text = "\0".join((*sorted(map(str, about.items())), kind, reason, message))
        key = hashlib.sha256(text.encode()).hexdigest()
        stamp = times.to_time(now)
        known = self._known.pop(key, None)
        name, first, count = known or (
            f"{about.get('name', '')}.{int(now.timestamp() * 1e6):x}{key[:4]}",
            stamp,
            0,
        )
        self._known[key] = (name, first, count + 1)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        event = core_v1.Event(
            metadata=meta_v1.ObjectMeta(name=name, namespace=about.get("namespace") or "default"),
            involvedObject=core_v1.ObjectReference(**about),
            reason=reason,
            message=message[:1024],
            type=kind,
            source=core_v1.EventSource(component=self._component, host=self._host),
            reportingComponent=self._component,
            reportingInstance=self._host,
            firstTimestamp=Time(first),
            lastTimestamp=stamp,
            count=count + 1,
        )
        return Recorded(event, update=known is not None)

    def forget(self, name: str) -> None:
        """The Event of that name is gone: its next occurrence is a new one."""
        for key, (known, _, _) in self._known.items():
            if known == name:
                del self._known[key]
                return

    def _allowed(self, key: str, now: float) -> bool:
        """A token bucket an object: a burst, then one every five minutes."""
        tokens, since = self._budget.pop(key, (float(BURST), now))
        tokens = min(BURST, tokens + (now - since) / REFILL_SECONDS)
        allowed = tokens >= 1
        self._budget[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._budget) > KNOWN_MAX:
            self._budget.popitem(last=False)
        return allowed


def reference(api_version: str, kind: str, metadata: meta_v1.ObjectMeta) -> dict[str, str]:
    """What an Event says of the object that it is about."""
    fields = {
        "apiVersion": api_version,
        "kind": kind,
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resourceVersion,
    }
    return {name: value for name, value in fields.items() if value}


def _extra(made: Recorded, error: Exception) -> dict[str, str]:
    meta = made.event.metadata
    return {"object": f"{meta.namespace}/{meta.name}", "error": str(error)}


class EventRecorder:
    """Records Events through an ApiClient, in the background."""

    def __init__(self, client: ApiClient, correlator: Correlator, *, clock: Clock) -> None:
        self._client = client
        self._correlator = correlator
        self._clock = clock
        self._queue: asyncio.Queue[Recorded] = asyncio.Queue(QUEUE_MAX)
        self._resource = SCHEME.require("", "v1", "events")

    def record(self, about: Mapping[str, str], kind: str, reason: str, message: str) -> None:
        """Record an occurrence: type Normal or Warning, CamelCase reason, words for people."""
        about = {key: value for key, value in about.items() if key != "resourceVersion"}
        made = self._correlator.observe(
            about,
            kind,
            reason,
            message,
            now=self._clock.now(),
            monotonic=self._clock.monotonic(),
        )
        if made is None or self._queue.full():
            return
        self._queue.put_nowait(made)

    async def run(self) -> None:
        """Write what was recorded, until cancelled."""
        while True:
            made = await self._queue.get()
            try:
                await self._write(made)
            except StatusError as error:
                self._correlator.forget(made.event.metadata.name)
                log.info("an event was not recorded", extra=_extra(made, error))
            except Exception as error:  # one event must not keep the others from being written
                self._correlator.forget(made.event.metadata.name)
                log.exception("recording an event failed", extra=_extra(made, error))

    async def _write(self, made: Recorded) -> None:
        meta, event = made.event.metadata, made.event
        if made.update:
            changed = {
                "count": event.count,
                "lastTimestamp": event.lastTimestamp,
                "message": event.message,
            }
            try:
                await self._client.patch(self._resource, meta.namespace, meta.name, changed)
                return
            except StatusError as error:
                if error.code != 404:
                    raise
        await self._client.create(self._resource, meta.namespace, codec.encode(event))
