"""Content negotiation: which form of the answer a client accepts.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

from __future__ import annotations

from typing import Any, NamedTuple

from common.api import errors
from common.api.codec import json as codec
from common.api.codec import protobuf, yaml
from master.apiserver.request import mediatypes

_AS = {
    ("Table", "meta.k8s.io", "v1"),
    ("Table", "meta.k8s.io", "v1beta1"),
    ("PartialObjectMetadata", "meta.k8s.io", "v1"),
    ("PartialObjectMetadata", "meta.k8s.io", "v1beta1"),
    ("PartialObjectMetadataList", "meta.k8s.io", "v1"),
    ("PartialObjectMetadataList", "meta.k8s.io", "v1beta1"),
    ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2"),
    ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1"),
}


class Accepted(NamedTuple):
    """The form of an answer: media type, and the kind it is converted to ('' for none)."""

    media_type: str = mediatypes.JSON
    kind: str = ""
    group: str = ""
    version: str = ""


def accepted(header: str, kinds: tuple[str, ...] = ()) -> Accepted:
    """The first form in an Accept header that we can make; `kinds` are the conversions on offer.

    Raises StatusError 406 when there is none.
    """
    if not header:
        return Accepted()
    for clause in header.split(","):
        media_type, parameters = _clause(clause)
        if media_type in ("*/*", "application/*"):
            return Accepted()
        if media_type not in mediatypes.OF_OBJECTS:
            continue
        kind = parameters.get("as", "")
        if not kind:
            return Accepted(media_type)
        form = Accepted(media_type, kind, parameters.get("g", ""), parameters.get("v", ""))
        if kind in kinds and form[1:] in _AS and media_type == mediatypes.JSON:
            return form
    raise errors.not_acceptable(mediatypes.OF_OBJECTS)


def _clause(text: str) -> tuple[str, dict[str, str]]:
    media_type, *rest = (part.strip() for part in text.split(";"))
    return media_type.lower(), dict(part.split("=", 1) for part in rest if "=" in part)


def encode_answer(plain: dict[str, Any], form: Accepted) -> tuple[bytes, str]:
    """(body, Content-Type) of an answer that is at hand as plain values."""
    if form.media_type == mediatypes.YAML:
        return yaml.encode(plain), mediatypes.YAML
    if form.media_type == mediatypes.PROTOBUF:
        return protobuf.encode(plain), mediatypes.PROTOBUF
    return codec.encode(plain), mediatypes.JSON
