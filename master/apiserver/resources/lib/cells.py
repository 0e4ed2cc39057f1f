"""Texts that cells of several kinds share, in Kubernetes' words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from common.api import labels, times
from common.api.types.meta_v1 import LabelSelector

NONE = "<none>"
UNKNOWN = "<unknown>"
_LISTED_MAX = 3


def age(stamp: str | None, now: datetime) -> str:
    """How long ago, in kubectl's words."""
    return times.human_duration(times.age_seconds(stamp, now)) if stamp else UNKNOWN


def containers(template: Mapping[str, Any]) -> dict[str, str]:
    """The Containers and Images columns of whatever has a pod template."""
    specs = template.get("spec", {}).get("containers", [])
    return {
        "Containers": ",".join(container.get("name", "") for container in specs),
        "Images": ",".join(container.get("image", "") for container in specs),
    }


def workload(obj: Mapping[str, Any]) -> dict[str, str]:
    """The columns of whatever runs pods of a template that a selector finds."""
    spec = obj.get("spec", {})
    return {**containers(spec.get("template", {})), "Selector": selector(spec.get("selector"))}


def ready(obj: Mapping[str, Any]) -> str:
    """How many of the wanted replicas are ready: `2/3`."""
    count = obj.get("status", {}).get("readyReplicas", 0)
    return f"{count}/{obj.get('spec', {}).get('replicas', 0)}"


def pairs(values: Mapping[str, str]) -> str:
    """Labels or a selector of labels: `a=b,c=d`."""
    return ",".join(f"{key}={value}" for key, value in sorted(values.items())) or NONE


def selector(value: Mapping[str, Any] | None) -> str:
    """A LabelSelector in the text form of queries."""
    try:
        parsed = msgspec.convert(value or {}, LabelSelector)
        return str(labels.from_label_selector(parsed)) or NONE
    except (msgspec.ValidationError, KeyError):
        return "<error>"


def listed(items: Iterable[str], count: int) -> str:
    """At most three of `count` items, and how many more there are; the rest is not looked at."""
    if not count:
        return NONE
    shown = ",".join(islice(items, _LISTED_MAX))
    more = count - _LISTED_MAX
    return f"{shown} + {more} more..." if more > 0 else shown


def condition(status: Mapping[str, Any], kind: str) -> str:
    """True, False or Unknown: a condition's status; empty when there is no such condition."""
    conditions: Iterable[Mapping[str, Any]] = status.get("conditions", [])
    return next((str(c.get("status", "")) for c in conditions if c.get("type") == kind), "")
