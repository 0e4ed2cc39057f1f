"""Patch bodies: which function of an object a patch stands for, by its media type."""

from __future__ import annotations

from common.api import errors, patch, schema
from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.scheme import Scheme
from master.apiserver.registry.bodies import Patcher

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
    if media_type == JSON_PATCH:
        return lambda plain: patch.json_patch(plain, document)
    if media_type == MERGE:
        if not isinstance(document, dict):
            raise errors.bad_request("error decoding patch: a merge patch is an object")
        return lambda plain: patch.merge(plain, document)
    found = scheme.kind(resource.api_version, resource.kind)
    if subresource == "scale":
        found = scheme.kind("autoscaling/v1", "Scale")
    assert found is not None
    message = schema.message(found.module, found.name)
    return lambda plain: patch.strategic(plain, document, message)
