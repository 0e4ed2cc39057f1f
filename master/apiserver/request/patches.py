"""Patch bodies: which function of an object a patch stands for, by its media type."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from common.api import errors, patch, schema
from common.api.codec import json as codec
from common.api.errors import FINDINGS_MAX
from common.api.resource import Resource
from common.api.scheme import Scheme
from master.apiserver.request.bodies import Patcher

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
OFFERED = (JSON_PATCH, MERGE, STRATEGIC)


def patcher(
    scheme: Scheme, resource: Resource, subresource: str, body: bytes, media_type: str
) -> Patcher:
    """The function that a patch body stands for; raises StatusError 400 or 415."""
    if media_type not in OFFERED:
        raise errors.unsupported_media_type(OFFERED)
    document = codec.decode_plain(body)
    findings = codec.duplicates(body, document)
    if media_type == JSON_PATCH:
        patch.check_operations(document)
        findings = [f"json patch {text}" for text in (*findings, *_unknown(document))]
        return Patcher(lambda plain: patch.json_patch(plain, document), tuple(findings))
    if not isinstance(document, dict):
        raise errors.bad_request("error decoding patch: the patch is not an object")
    if media_type == MERGE:
        return Patcher(lambda plain: patch.merge(plain, document), tuple(findings))
    found = scheme.kind(resource.api_version, resource.kind)
    if subresource == "scale":
        found = scheme.kind("autoscaling/v1", "Scale")
    assert found is not None
    message = schema.message(found.module, found.name)
    return Patcher(
        lambda plain: patch.strategic(plain, document, message), tuple(findings), keeps_type=True
    )


def _unknown(operations: list[Any] | None) -> Iterator[str]:
    """What strict decoding finds in the operations of a JSON patch."""
    found = (
        f'unknown field "[{number}].{name}"'
        for number, operation in enumerate(operations or ())
        for name in operation or ()
        if name not in ("op", "path", "from", "value")
    )
    return islice(found, FINDINGS_MAX)
