"""What a URL asks for: group, version, resource, namespace, name, subresource, verb.

Segments are split before they are unquoted and never normalised, so that no quoting leads to
another object. Source: k8s.io/apiserver pkg/endpoints/request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from common.api import errors
from common.api.resource import Resource
from common.api.scheme import Scheme
from master.apiserver.request.options import truthy
from master.apiserver.request.target import Target, check_segment

PROXY = "proxy"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PROXIED = re.compile(r"(/api/v1/namespaces/[^/]+/(?:pods|services)/[^/]+/proxy)(/.*)?", re.DOTALL)


class RequestInfo(NamedTuple):
    """A request for a resource."""

    verb: str
    target: Target


def proxied(raw_path: str) -> tuple[str, str | None]:
    """A raw path up to `/proxy`, and what comes behind it: that is for the program there to read.

    None comes behind any other path.
    """
    found = _PROXIED.fullmatch(raw_path)
    return (found[1], found[2] or "") if found else (raw_path, None)


def segments(raw_path: str) -> list[str]:
    """The unquoted segments of a raw path; raises StatusError 400 for what cannot be a name."""
    parts = []
    for part in raw_path.strip("/").split("/"):
        text = unquote(part, errors="strict") if "%" in part else part
        check_segment(text)
        parts.append(text)
    return parts


def query(raw_query: str) -> dict[str, str]:
    """The first value of each query parameter."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True):
        values.setdefault(name, value)
    return values


def all_values(raw_query: str) -> dict[str, list[str]]:
    """All values of each query parameter."""
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True):
        values.setdefault(name, []).append(value)
    return values


def parse(
    method: str, parts: list[str], parameters: Mapping[str, str], scheme: Scheme
) -> RequestInfo | None:
    """The request for a resource, or None when the path is not one.

    Raises StatusError 404 for an unknown resource of a known group, 405 for other methods.
    """
    place = _group_version(parts)
    if place is None:
        return None
    group, version, rest = place
    watching = bool(rest) and rest[0] == "watch"
    rest = rest[1:] if watching else rest
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return None
    if len(rest) > 3 or not all(rest):
        return _unknown()
    resource = scheme.resource(group, version, rest[0])
    if resource is None or (namespace and not resource.namespaced):
        return _unknown()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if resource.namespaced and name and not namespace:
        return _unknown()
    if subresource == PROXY and method == "OPTIONS":
        verb = "options"
    else:
        asked = subresource != PROXY and truthy(parameters.get("watch"))
        verb = _verb(method, name, resource, watching or asked)
    return RequestInfo(verb, Target(resource, namespace, name, subresource))


def _unknown() -> RequestInfo:
    raise errors.unknown_path()


def _group_version(parts: list[str]) -> tuple[str, str, list[str]] | None:
    if len(parts) > 2 and parts[0] == "api":
        return "", parts[1], parts[2:]
    if len(parts) > 3 and parts[0] == "apis":
        return parts[1], parts[2], parts[3:]
    return None


def _verb(method: str, name: str, resource: Resource, watching: bool) -> str:
    if method in ("GET", "HEAD"):
        if watching:
            return "watch"
        return "get" if name else "list"
    if method == "DELETE" and not name:
        return "deletecollection"
    if method not in _VERBS:
        raise errors.method_not_allowed(method, resource)
    return _VERBS[method]
