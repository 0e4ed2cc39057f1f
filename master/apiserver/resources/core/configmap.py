"""Rules of ConfigMap. Source: k8s.io/kubernetes pkg/apis/core/validation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.core_v1 import ConfigMap
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.lib.checks import Findings, named

DATA_MAX_BYTES = 1 << 20
IMMUTABLE = "field is immutable when `immutable` is set"


class ConfigMapStrategy(Strategy):
    """Keys are file names; text and bytes share them."""

    def validate(self, obj: ConfigMap) -> list[FieldError]:
        """Keys that can be files, once each, a mebibyte in all."""
        return errors.first(_problems(obj))

    def validate_update(self, new: ConfigMap, old: ConfigMap) -> list[FieldError]:
        """Once immutable, always as it is."""
        if not old.immutable:
            return []
        findings = []
        if not new.immutable:
            findings.append(errors.forbidden("immutable", IMMUTABLE))
        for name in ("data", "binaryData"):
            if getattr(new, name) != getattr(old, name):
                findings.append(errors.forbidden(name, IMMUTABLE))
        return findings


def _problems(obj: ConfigMap) -> Findings:
    for key in obj.data:
        yield from named(f"data[{key}]", key, names.config_map_key)
        if key in obj.binaryData:
            text = "duplicate of key present in binaryData"
            yield errors.invalid(f"data[{key}]", key, text)
    for key in obj.binaryData:
        yield from named(f"binaryData[{key}]", key, names.config_map_key)
    size = sum(len(text.encode()) for text in obj.data.values())
    if size + sum(map(len, obj.binaryData.values())) > DATA_MAX_BYTES:
        yield errors.too_long("[]", DATA_MAX_BYTES)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ConfigMap."""
    return {"Data": len(obj.get("data", {})) + len(obj.get("binaryData", {}))}


RULES = {"configmaps": Rules(ConfigMapStrategy, cells_of)}
