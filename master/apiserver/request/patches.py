"""Patches: data until the registry reads them, then the function of an object they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from common.api import errors, patch, schema
from common.api.codec import json as codec
from common.api.errors import FINDINGS_MAX
from common.api.scheme import Scheme
from master.apiserver.request import mediatypes
from master.apiserver.request.bodies import Patcher
from master.apiserver.request.target import Target


class Patch(NamedTuple):
    """The bytes of a patch and its media type, one of `mediatypes.OF_PATCHES`."""

    data: bytes
    media_type: str


def read(scheme: Scheme, target: Target, wanted: Patch) -> Patcher:
    """The function that a patch stands for; raises StatusError 400 or 415."""
    data, media_type = wanted
    if media_type not in mediatypes.OF_PATCHES:
        raise errors.unsupported_media_type(mediatypes.OF_PATCHES)
    document = codec.decode_plain(data)
    findings = codec.duplicates(data, document)
    if media_type == mediatypes.JSON_PATCH:
        patch.check_operations(document)
        findings = [f"json patch {text}" for text in (*findings, *_unknown(document))]
        return Patcher(lambda plain: patch.json_patch(plain, document), tuple(findings))
    if not isinstance(document, dict):
        raise errors.bad_request("error decoding patch: the patch is not an object")
    if media_type == mediatypes.MERGE_PATCH:
        return Patcher(lambda plain: patch.merge(plain, document), tuple(findings))
    kind = scheme.kind(target.resource.api_version, target.resource.kind)
    if target.subresource == "scale":
        kind = scheme.kind("autoscaling/v1", "Scale")
    assert kind is not None
    message = schema.message(kind.module, kind.name)
    return Patcher(
        lambda plain: patch.strategic(plain, document, message), tuple(findings), keeps_type=True
    )


def _unknown(operations: list[Any] | None) -> Iterator[str]:
    """What strict decoding finds in the operations of a JSON patch."""
    fields = (
        f'unknown field "[{number}].{name}"'
        for number, operation in enumerate(operations or ())
        for name in operation or ()
        if name not in ("op", "path", "from", "value")
    )
    return islice(fields, FINDINGS_MAX)
