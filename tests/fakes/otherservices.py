"""A resource that no .proto file has, of a kind that is called Service as that of core/v1 is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from common.api.fields import fields
from common.api.resource import Column, Resource, Subresource
from common.api.types import always
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.registry.catalogue import ResourceDef, Rules
from master.apiserver.registry.stored import Status, Stored
from master.apiserver.registry.strategy import Settings, Strategy
from tests.fakes.clock import FakeClock

SETTINGS = Settings("10.244.0.0/16", "10.96.0.0/16", FakeClock())
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Service(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Service of serving.example.dev/v1: what is to be served, as anybody likes to say it."""

    apiVersion: str = msgspec.field(default_factory=always.constant("serving.example.dev/v1"))
    kind: str = msgspec.field(default_factory=always.constant("Service"))
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)
    spec: dict[str, Any] = msgspec.field(default_factory=dict)
    status: dict[str, Any] = msgspec.field(default_factory=dict)


SERVICES = Resource(
    group="serving.example.dev",
    version="v1",
    kind="Service",
    plural="services",
    singular="service",
    namespaced=True,
    short_names=("ksvc",),
    verbs=VERBS,
    subresources=(Subresource("status", "Service"),),
    columns=(
        Column("Name", "string", "", 0),
        Column("URL", "string", ".status.url", 0),
        Column("Traffic", "string", "", 0),
    ),
    has_status=True,
)


class ServiceStrategy(Strategy):
    """Traffic, if nobody says otherwise."""

    generation = True

    def default(self, obj: Service) -> None:
        """All of it."""
        obj.spec.setdefault("traffic", 100)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The share of the traffic."""
    return {"Traffic": f"{obj['spec']['traffic']}%"}


RULES = Rules(ServiceStrategy, cells_of, fields("spec.image"))


def services(stored: Stored) -> ResourceDef:
    """The definition of Services of serving.example.dev."""
    answering = {"status": Status(stored)}
    return replace(RULES.definition(SERVICES, SETTINGS, stored, answering), struct=Service)
