"""References to images: `[registry[:port]/]path[:tag][@digest]`, or an image's id."""

from __future__ import annotations

import re

from node.runtime.base import InvalidImageName

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def check_reference(reference: str) -> None:
    """Raise InvalidImageName unless the text is a reference (grammar: distribution/reference)."""
    if not _REFERENCE.fullmatch(reference):
        raise InvalidImageName(f'couldn\'t parse image name "{reference}": invalid reference')
