"""Rules of Secret. Source: https://kubernetes.io/docs/concepts/configuration/secret/"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from common.api import errors, names, wellknown
from common.api.errors import FieldError
from common.api.fields import fields
from common.api.types.core_v1 import Secret
from common.security import pairs
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.core.configmap import DATA_MAX_BYTES, IMMUTABLE

FIELDS = fields("type")

OPAQUE = "Opaque"
_DOCKER_KEYS = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
}


class SecretStrategy(Strategy):
    """Bytes under keys; some types must have certain keys."""

    def default(self, obj: Secret) -> None:
        """Opaque; stringData is a way to write data, and is never stored."""
        obj.type = obj.type or OPAQUE
        if obj.stringData:
            written = {key: text.encode() for key, text in obj.stringData.items()}
            obj.data = {**obj.data, **written}
            obj.stringData = {}

    def validate(self, obj: Secret) -> list[FieldError]:
        """Keys that can be files, a mebibyte in all, what the type asks for."""
        findings = errors.first(
            errors.invalid(f"data[{key}]", key, problem)
            for key in obj.data
            for problem in names.config_map_key(key)
        )
        if sum(len(value) for value in obj.data.values()) > DATA_MAX_BYTES:
            findings.append(errors.too_long("data", DATA_MAX_BYTES))
        return findings + _type_problems(obj)

    def warnings(self, obj: Secret, old: Secret | None = None) -> list[str]:
        """A certificate and a key that do not belong together."""
        if obj.type != "kubernetes.io/tls":
            return []
        mismatch = pairs.problem(obj.data.get("tls.crt", b""), obj.data.get("tls.key", b""))
        return [mismatch] if mismatch else []

    def validate_update(self, new: Secret, old: Secret) -> list[FieldError]:
        """The type stays; once immutable, all of it does."""
        findings = []
        if new.type != old.type:
            findings.append(errors.invalid("type", new.type, "field is immutable"))
        if old.immutable and not new.immutable:
            findings.append(errors.forbidden("immutable", IMMUTABLE))
        if old.immutable and new.data != old.data:
            findings.append(errors.forbidden("data", IMMUTABLE))
        return findings


def _type_problems(obj: Secret) -> list[FieldError]:
    match obj.type:
        case wellknown.ACCOUNT_TOKEN:
            if not obj.metadata.annotations.get(wellknown.ACCOUNT_NAME):
                return [errors.required(f"metadata.annotations[{wellknown.ACCOUNT_NAME}]")]
        case "kubernetes.io/dockercfg" | "kubernetes.io/dockerconfigjson":
            return _docker_problems(obj, _DOCKER_KEYS[obj.type])
        case "kubernetes.io/basic-auth":
            if "username" not in obj.data and "password" not in obj.data:
                return [errors.required("data[username]"), errors.required("data[password]")]
        case "kubernetes.io/ssh-auth":
            if not obj.data.get("ssh-privatekey"):
                return [errors.required("data[ssh-privatekey]")]
        case "kubernetes.io/tls":
            missing = [key for key in ("tls.crt", "tls.key") if key not in obj.data]
            return [errors.required(f"data[{key}]") for key in missing]
    return []


def _docker_problems(obj: Secret, key: str) -> list[FieldError]:
    """Credentials of registries are a JSON object; the message does not repeat them."""
    if key not in obj.data:
        return [errors.required(f"data[{key}]")]
    try:
        msgspec.json.decode(obj.data[key], type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [errors.invalid(f"data[{key}]", "<secret contents redacted>", str(error))]
    return []


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a Secret."""
    return {"Data": len(obj.get("data", {}))}


RULES = {"secrets": Rules(SecretStrategy, cells_of, FIELDS)}
