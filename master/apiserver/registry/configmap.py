"""Rules of ConfigMap. Source: k8s.io/kubernetes pkg/apis/core/validation."""

from __future__ import annotations

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.core_v1 import ConfigMap
from master.apiserver.registry.strategy import Strategy

DATA_MAX_BYTES = 1 << 20
IMMUTABLE = "field is immutable when `immutable` is set"


class ConfigMapStrategy(Strategy):
    """Keys are file names; text and bytes share them."""

    def validate(self, obj: ConfigMap) -> list[FieldError]:
        """Keys that can be files, once each, a mebibyte in all."""
        found, size = [], 0
        for key, text in obj.data.items():
            found += [errors.invalid(f"data[{key}]", key, p) for p in names.config_map_key(key)]
            if key in obj.binaryData:
                found.append(
                    errors.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
                )
            size += len(text.encode())
        for key, value in obj.binaryData.items():
            path = f"binaryData[{key}]"
            found += [errors.invalid(path, key, p) for p in names.config_map_key(key)]
            size += len(value)
        if size > DATA_MAX_BYTES:
            found.append(errors.too_long("[]", DATA_MAX_BYTES))
        return found

    def validate_update(self, new: ConfigMap, old: ConfigMap) -> list[FieldError]:
        """Once immutable, always as it is."""
        if not old.immutable:
            return []
        found = []
        if not new.immutable:
            found.append(errors.forbidden("immutable", IMMUTABLE))
        for name in ("data", "binaryData"):
            if getattr(new, name) != getattr(old, name):
                found.append(errors.forbidden(name, IMMUTABLE))
        return found
