"""Warning headers: what a client should know although its request succeeds.

kubectl prints them. Source: RFC 7234 section 5.5, KEP-1693 (warnings for deprecated APIs).
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from common.api.resource import Resource

TEXT_MAX_CHARACTERS = 1024


def add(response: web.StreamResponse, texts: Iterable[str]) -> None:
    """A header for each text; before the response is prepared."""
    for text in texts:
        safe = "".join(c if c.isprintable() and ord(c) < 0x10000 else "?" for c in text)
        quoted = safe[:TEXT_MAX_CHARACTERS].replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')


def deprecation(resource: Resource) -> list[str]:
    """That the kind is deprecated, since when, and what to use; nothing for the others."""
    if not resource.deprecated:
        return []
    return [f"{resource.api_version} {resource.kind} is deprecated in {resource.deprecated}"]
