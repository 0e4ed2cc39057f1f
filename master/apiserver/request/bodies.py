"""Request bodies: from the bytes of a client to a Struct of the kind that the path means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from common.api import errors
from common.api.codec import json as codec
from common.api.codec import protobuf, yaml
from common.api.resource import Resource
from master.apiserver.request import mediatypes
from master.apiserver.request.context import Context

T = TypeVar("T", bound=msgspec.Struct)
SHOWN_MAX_BYTES = 1024
"""How much of an object a message shows."""
NAMESPACE_MISMATCH = (
    "the namespace of the provided object does not match the namespace sent on the request"
)
Inbound = Callable[[dict[str, Any]], dict[str, Any]]
TYPE_MAX_CHARACTERS = 512
"""How much a message shows of what a client calls an apiVersion or a kind."""


class Body(NamedTuple):
    """The bytes of a request and their Content-Type; JSON when it is empty."""

    data: bytes
    content_type: str = ""

    @property
    def media_type(self) -> str:
        """The Content-Type without parameters."""
        return self.content_type.split(";")[0].strip().lower() or mediatypes.JSON

    @property
    def weight(self) -> int:
        """Its size in bytes of JSON that would take as long to read."""
        factor = {mediatypes.YAML: 10, mediatypes.PROTOBUF: 2}
        return len(self.data) * factor.get(self.media_type, 1)

    def plain(self) -> Any:
        """The body as plain values; raises StatusError 400, 413 or 415."""
        return self.plain_and_findings()[0]

    def plain_and_findings(self) -> tuple[Any, list[str]]:
        """The same, and the keys that stand in the body twice."""
        media_type = self.media_type
        if media_type == mediatypes.YAML:
            return yaml.decode_request(self.data)
        if media_type == mediatypes.PROTOBUF:
            return protobuf.decode(self.data), []
        if media_type in (mediatypes.JSON, "application/octet-stream"):
            value = codec.decode_plain(self.data)
            return value, codec.duplicates(self.data, value)
        raise errors.unsupported_media_type(mediatypes.OF_OBJECTS)


@dataclass(frozen=True, slots=True)
class Patcher:
    """A patch: `apply` takes an object's plain values, answers what it becomes, in place nothing.

    `findings` are of the patch itself; a patch that `keeps_type` says nothing by its kind.
    """

    apply: Callable[[dict[str, Any]], Any]
    findings: tuple[str, ...] = ()
    keeps_type: bool = False


class _TypeMeta(msgspec.Struct):
    apiVersion: str = ""
    kind: str = ""


def decode(ctx: Context, body: Body, cls: type[T], api_version: str) -> T:
    """The object in a body, which must be of this kind. Raises StatusError 400, 413 or 415."""
    if body.media_type == mediatypes.JSON:
        check_type(_type_meta(body.data), cls.__name__, api_version)
        value, findings = codec.decode_request(body.data, cls)
    else:
        plain, repeated = body.plain_and_findings()
        check_type(_plain_type(plain), cls.__name__, api_version)
        value, findings = codec.convert_request(plain, cls)
        findings += codec.outside(findings, repeated)
    ctx.take_findings(cls.__name__, codec.version_of(cls), findings)
    _set_type(value)
    return value


def _set_type(value: msgspec.Struct) -> None:
    """A body may say "" for its type: that is the one that the path means, as if it said none."""
    if getattr(value, "apiVersion", True) and getattr(value, "kind", True):
        return
    for field in msgspec.structs.fields(value):
        if field.name in ("apiVersion", "kind") and not getattr(value, field.name):
            assert field.default_factory is not msgspec.NODEFAULT
            setattr(value, field.name, field.default_factory())


def plain(body: Body, resource: Resource) -> tuple[dict[str, Any], list[str]]:
    """(plain values of a body, which must be of the resource's kind, keys that it has twice).

    Raises as decode does.
    """
    value, findings = body.plain_and_findings()
    check_type(_plain_type(value), resource.kind, resource.api_version)
    return value, findings


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
        said = (found.kind or kind)[:TYPE_MAX_CHARACTERS]
        version = (found.apiVersion or api_version)[:TYPE_MAX_CHARACTERS]
        raise errors.bad_request(
            f'{said} in version "{version}" cannot be handled as a {kind}: the object provided is '
            f"unrecognized (must be of type {kind} in {api_version})"
        )


def patched(
    ctx: Context, current: bytes, patcher: Patcher, cls: type[T], inbound: Inbound | None = None
) -> T:
    """The object that a patch makes of the current one. Raises StatusError 400, 413 or 422.

    `inbound` takes it from the form that the client sees to that of the kind.
    """
    before = codec.decode_plain(current)
    after = _patched_plain(before, patcher)
    try:
        value, findings = codec.convert_request(inbound(after) if inbound else after, cls)
        ctx.take_findings(cls.__name__, codec.version_of(cls), [*patcher.findings, *findings])
    except errors.CannotBeHandled as error:
        raise _unfit(after, error.why) from error
    _check_identity(cls.__name__, before, value)
    return value


def _patched_plain(before: dict[str, Any], patcher: Patcher) -> dict[str, Any]:
    """What a patch makes of an object, which is still of the same kind; raises as `patched`."""
    after = patcher.apply(before)
    if not isinstance(after, dict):
        raise _unfit(after, f"json: cannot unmarshal {type(after).__name__} into an object")
    for name in ("apiVersion", "kind"):
        value = after.get(name)
        if value and value != before[name] and not patcher.keeps_type:
            said = _plain_type(after)
            text = f'no kind "{said.kind}" is registered for version "{said.apiVersion}"'
            raise _unfit(after, text[: 2 * TYPE_MAX_CHARACTERS])
    return {**after, "apiVersion": before["apiVersion"], "kind": before["kind"]}


def _unfit(after: Any, why: str) -> errors.StatusError:
    """422: what a patch has made is not an object of the kind."""
    try:
        shown = msgspec.json.encode(after)[:SHOWN_MAX_BYTES].decode(errors="replace")
    except RecursionError as error:
        raise errors.too_deep() from error
    return errors.invalid_object("", "", "", [errors.invalid("patch", shown, why)])


def _check_identity(kind: str, before: dict[str, Any], value: Any) -> None:
    """A patch may not make another object; of what it leaves out nothing is changed."""
    old, new = before["metadata"], value.metadata
    name, uid = old.get("name", ""), old.get("uid", "")
    check_name(name, new.name)
    namespace = old.get("namespace", "")
    if namespace and new.namespace not in ("", namespace):
        raise errors.bad_request(NAMESPACE_MISMATCH)
    new.namespace = namespace
    if uid and new.uid not in ("", uid):
        group = before["apiVersion"].rpartition("/")[0]
        finding = errors.invalid("metadata.uid", new.uid, "field is immutable")
        raise errors.invalid_object(group, kind, name, [finding])


def check_name(name: str, found: str) -> None:
    """400 for an object without a name, or with another than the URL has."""
    if not found:
        text = f"the name of the object ({name} based on URL) was undeterminable"
        raise errors.bad_request(f"{text}: name must be provided")
    if found != name:
        text = f"the name of the object ({found}) does not match the name on the URL ({name})"
        raise errors.bad_request(text)
