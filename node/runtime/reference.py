"""References to images: `[registry[:port]/]path[:tag][@digest]`, or an image's id."""

from __future__ import annotations

import re

from node.runtime.base import InvalidImageName

DOCKER_HUB = "docker.io"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


def check_reference(reference: str) -> None:
    """Raise InvalidImageName unless the text is a reference (grammar: distribution/reference)."""
    if not _REFERENCE.fullmatch(reference):
        raise InvalidImageName(f'couldn\'t parse image name "{reference}": invalid reference')


def split(reference: str) -> tuple[str, str]:
    """(registry, the rest) of a reference; what names no registry is Docker Hub's.

    Source: distribution/reference, splitDockerDomain.
    """
    first, slash, rest = reference.partition("/")
    is_registry = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_registry:
        first, rest = DOCKER_HUB, reference
    if first == "index.docker.io":
        first = DOCKER_HUB
    if first == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def qualified(reference: str) -> str:
    """The reference with its registry, for a runtime that would look in others of its own first.

    Of one with tag and digest the digest counts, as in Kubernetes' runtimes. An id stays as it is.
    Raises InvalidImageName.
    """
    check_reference(reference)
    if _ID.fullmatch(reference):
        return reference
    registry, rest = split(reference)
    name, at, digest = rest.partition("@")
    if at:
        path, slash, last = name.rpartition("/")
        name = f"{path}{slash}{last.partition(':')[0]}"
    return f"{registry}/{name}{at}{digest}"
