"""Request bodies: from the bytes of a client to a Struct of the kind that the path means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from common.api import errors
from common.api.codec import json as codec
from common.api.codec import protobuf, yaml
from common.api.resource import Resource
from master.apiserver.registry.request import Context

T = TypeVar("T", bound=msgspec.Struct)
Patcher = Callable[[dict[str, Any]], Any]
"""Takes an object's plain values, answers what it becomes; changes nothing in place."""
MEDIA_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")


class Body(NamedTuple):
    """The bytes of a request and their Content-Type; JSON when it is empty."""

    data: bytes
    content_type: str = ""

    @property
    def media_type(self) -> str:
        """The Content-Type without parameters."""
        return self.content_type.split(";")[0].strip().lower() or MEDIA_TYPES[0]

    def plain(self) -> Any:
        """The body as plain values; raises StatusError 400, 413 or 415."""
        match self.media_type:
            case "application/yaml":
                return yaml.decode(self.data)
            case "application/vnd.kubernetes.protobuf":
                return protobuf.decode(self.data)
            case "application/json" | "application/octet-stream":
                return codec.decode_plain(self.data)
        raise errors.unsupported_media_type(MEDIA_TYPES)


class _TypeMeta(msgspec.Struct):
    apiVersion: str = ""
    kind: str = ""


def decode(ctx: Context, body: Body, cls: type[T], api_version: str) -> T:
    """The object in a body, which must be of this kind. Raises StatusError 400, 413 or 415."""
    if body.media_type == MEDIA_TYPES[0]:
        check_type(_type_meta(body.data), cls.__name__, api_version)
        value, findings = codec.decode_request(body.data, cls)
    else:
        plain = body.plain()
        check_type(_plain_type(plain), cls.__name__, api_version)
        value, findings = codec.convert_request(plain, cls)
    ctx.take_findings(findings)
    return value


def plain(body: Body, resource: Resource) -> dict[str, Any]:
    """The plain values of a body, which must be of the resource's kind; raises as decode does."""
    found: dict[str, Any] = body.plain()
    check_type(_plain_type(found), resource.kind, resource.api_version)
    return found


def _type_meta(data: bytes) -> _TypeMeta:
    try:
        return msgspec.json.decode(data, type=_TypeMeta)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _plain_type(codec.decode_plain(data))


def _plain_type(plain: Any) -> _TypeMeta:
    if not isinstance(plain, dict):
        raise errors.bad_request("Object 'Kind' is missing: the body is not an object")
    return _TypeMeta(str(plain.get("apiVersion") or ""), str(plain.get("kind") or ""))


def check_type(found: _TypeMeta, kind: str, api_version: str) -> None:
    """A body may leave its type out, but not say another."""
    if found.kind not in ("", kind) or found.apiVersion not in ("", api_version):
        raise errors.bad_request(
            f"{found.kind or kind} in version "
            f'"{found.apiVersion or api_version}" cannot be handled as a {kind}: the object '
            "provided is unrecognized (must be of type "
            f"{kind} in {api_version})"
        )


def patched(ctx: Context, current: bytes, patcher: Patcher, cls: type[T]) -> T:
    """The object that a patch makes of the current one. Raises StatusError 400, 413 or 422."""
    before = codec.decode_plain(current)
    after = patcher(before)
    if not isinstance(after, dict):
        raise errors.unprocessable("the patch does not leave an object")
    for name in ("apiVersion", "kind"):
        if after.get(name) != before.get(name):
            raise errors.bad_request(f"a patch may not change {name}")
    value, findings = codec.convert_request(after, cls)
    ctx.take_findings(findings)
    return value
