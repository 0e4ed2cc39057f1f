"""Rules of ControllerRevision. Source: k8s.io/kubernetes pkg/apis/apps/validation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from common.api import errors
from common.api.errors import FieldError
from common.api.types.apps_v1 import ControllerRevision
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.lib import cells
from master.apiserver.resources.lib.checks import Findings, immutable, nonnegative


class ControllerRevisionStrategy(Strategy):
    """A state that a controller keeps: an object, which never changes."""

    def validate(self, obj: ControllerRevision) -> list[FieldError]:
        """A revision of at least zero, and some data."""
        return errors.first(_problems(obj))

    def validate_update(self, new: ControllerRevision, old: ControllerRevision) -> list[FieldError]:
        """The data stay."""
        return list(immutable("data", new.data, old.data))


def _problems(obj: ControllerRevision) -> Findings:
    yield from nonnegative("revision", obj.revision)
    if obj.data is None:
        yield errors.required("data", "data is mandatory")
    elif not isinstance(obj.data, dict):
        yield errors.required("data", "data must be a valid JSON object")


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ControllerRevision."""
    owners = obj["metadata"].get("ownerReferences", [])
    owner = next((owner for owner in owners if owner.get("controller")), None)
    if owner is None:
        return {"Controller": cells.NONE}
    group, slash, _ = owner.get("apiVersion", "").rpartition("/")
    kind = owner.get("kind", "").lower() + (f".{group}" if slash else "")
    return {"Controller": f"{kind}/{owner.get('name', '')}"}


RULES = {"controllerrevisions.apps": Rules(ControllerRevisionStrategy, cells_of)}
