"""The operations of resources in OpenAPI v3 documents: paths, parameters, bodies and answers.

Operations are named as Kubernetes names them, for client libraries are generated from the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.api.resource import Resource
from master.apiserver.rest.discovery import gvk

MERGES = ("application/merge-patch+json", "application/strategic-merge-patch+json")
BODIES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
TEXT = ("text/plain",)
TEXT_SCHEMA = {"type": "string"}
STREAMS = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_OF_ONE = (("get", "get"), ("put", "update"), ("delete", "delete"), ("patch", "patch"))
_OF_ALL = (("get", "list"), ("post", "create"), ("delete", "deletecollection"))
_METHODS = {"get": "get", "update": "put", "patch": "patch", "create": "post"}
_ACTIONS = {"create": "post", "update": "put"}
"""What x-kubernetes-action calls a verb, where it is another word."""
_NAMES = {"update": "replace", "get": "read", "deletecollection": "delete"}
"""What the name of an operation calls a verb, where it is another word."""
_ABOUT = {
    "create": "create {part}{a}{kind}",
    "update": "replace {part}the specified {kind}",
    "get": "read {part}the specified {kind}",
    "list": "list or watch objects of kind {kind}",
    "patch": "partially update {part}the specified {kind}",
    "delete": "delete {a}{kind}",
    "deletecollection": "delete collection of {kind}",
}
_WRITES = ("dryRun", "fieldManager", "fieldValidation")
_LISTS = (
    ("labelSelector", "string"),
    ("fieldSelector", "string"),
    ("limit", "integer"),
    ("continue", "string"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("allowWatchBookmarks", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
)
_DELETES = (
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
    ("dryRun", "string"),
)
_LOGS = (
    ("container", "string"),
    ("follow", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("sinceTime", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
)
_STREAMS = tuple((name, "boolean") for name in ("stderr", "stdin", "stdout", "tty"))
_CONNECTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "attach": (("container", "string"), *_STREAMS),
    "exec": (("command", "string"), ("container", "string"), *_STREAMS),
    "portforward": (("ports", "integer"),),
    "proxy": (("path", "string"),),
}
"""What subresources take that answer with a conversation."""
_PROXIED = ("delete", "get", "head", "options", "patch", "post", "put")
"""The methods that a proxy passes on."""
Schema = dict[str, Any]


@dataclass(frozen=True)
class Below:
    """A subresource that is served: its verbs, its kind as extensions name it, and its schema."""

    name: str
    verbs: Sequence[str]
    kind: dict[str, str]
    schema: Schema
    is_conversation: bool = False
    """Both sides may send at any time, whatever the verb."""


@dataclass(frozen=True, kw_only=True)
class References:
    """Where the schemas stand that the operations of a resource take and answer."""

    own: Schema
    listed: Schema
    below: Sequence[Below]
    options: Schema
    deleted: Schema
    """What a deletion answers."""
    patch: Schema


def path_of(resource: Resource) -> str:
    """`api/v1` or `apis/GROUP/VERSION`."""
    if resource.group:
        return f"apis/{resource.group}/{resource.version}"
    return f"api/{resource.version}"


def paths(resource: Resource, refer: References) -> dict[str, Any]:
    """The paths of a resource, each with its operations by method."""
    root = f"/{path_of(resource)}"
    base = f"{root}/namespaces/{{namespace}}" if resource.namespaced else root
    collection, one = f"{base}/{resource.plural}", f"{base}/{resource.plural}/{{name}}"
    operations = {
        collection: _operations(resource, _OF_ALL, refer),
        one: _operations(resource, _OF_ONE, refer),
    }
    if resource.namespaced and "list" in resource.verbs:
        everywhere = _operation(resource, "list", refer)
        everywhere["operationId"] = _name(resource, "list", "ForAllNamespaces")
        operations[f"{root}/{resource.plural}"] = {"get": everywhere}
    for below in refer.below:
        operations |= _below(resource, f"{one}/{below.name}", refer, below)
    return {path: {**_places(path), **made} for path, made in operations.items() if made}


def _below(
    resource: Resource, path: str, refer: References, below: Below
) -> dict[str, dict[str, Any]]:
    """The operations of a subresource by their paths, of which a proxy has two."""
    if below.name == "proxy":
        ends = {"": "Proxy", "/{path}": "ProxyWithPath"}
        return {
            path + end: {way: _connection(resource, way, below, name) for way in _PROXIED}
            for end, name in ends.items()
        }
    name = below.name.capitalize()
    return {
        path: {
            _METHODS[verb]: _connection(resource, _METHODS[verb], below, name)
            if below.is_conversation
            else _operation(resource, verb, refer, below)
            for verb in below.verbs
        }
    }


def _places(path: str) -> dict[str, Any]:
    """The parameters that stand in the path itself."""
    places = [name for name in ("namespace", "name", "path") if f"{{{name}}}" in path]
    if not places:
        return {}
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in places
        ]
    }


def _operations(
    resource: Resource, methods: tuple[tuple[str, str], ...], refer: References
) -> dict[str, Any]:
    return {
        method: _operation(resource, verb, refer)
        for method, verb in methods
        if verb in resource.verbs
    }


def _operation(
    resource: Resource, verb: str, refer: References, below: Below | None = None
) -> dict[str, Any]:
    own = below.schema if below else refer.own
    kind = below.kind if below else gvk(resource.api_version, resource.kind)
    made: dict[str, Any] = {
        "tags": [_tag(resource)],
        "description": _about(resource, verb, f"{below.name} of " if below else ""),
        "operationId": _name(resource, verb, below.name.capitalize() if below else ""),
        "parameters": _parameters("log" if below and below.name == "log" else verb),
        "responses": _responses(resource, verb, own, refer),
        "x-kubernetes-action": _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": kind,
    }
    if verb in ("create", "update"):
        made["requestBody"] = {"required": True, **_content("", own, BODIES)}
    elif verb == "patch":
        types = ("application/json-patch+json", *MERGES)
        made["requestBody"] = {"required": True, **_content("", refer.patch, types)}
    elif verb in ("delete", "deletecollection"):
        made["requestBody"] = _content("", refer.options, BODIES)
    return made


def _connection(resource: Resource, method: str, below: Below, suffix: str) -> dict[str, Any]:
    """A conversation: nothing is said of what passes."""
    name = _name(resource, "connect", suffix)
    return {
        "tags": [_tag(resource)],
        "description": f"connect {method.upper()} requests to {below.name} of {resource.kind}",
        "operationId": name.replace("Namespaced", f"{method.capitalize()}Namespaced", 1),
        "parameters": _query(_CONNECTS.get(below.name, ())),
        "responses": {
            "200": _content("OK", TEXT_SCHEMA, ("*/*",)),
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": "connect",
        "x-kubernetes-group-version-kind": below.kind,
    }


def _tag(resource: Resource) -> str:
    return f"{_group(resource).lower()}_{resource.version}"


def _about(resource: Resource, verb: str, part: str) -> str:
    """What an operation does, of the object or of a part of it."""
    article = "" if resource.kind.endswith("s") else "an " if resource.kind[0] in "AEIO" else "a "
    return _ABOUT[verb].format(kind=resource.kind, a=article, part=part)


def _group(resource: Resource) -> str:
    """`Core`, `Apps`, `RbacAuthorization`: a group in the name of an operation."""
    words = resource.group.removesuffix(".k8s.io").split(".")
    return "".join(word.capitalize() for word in words) or "Core"


def _name(resource: Resource, verb: str, suffix: str) -> str:
    many = "Collection" if verb == "deletecollection" else ""
    space = "Namespaced" if resource.namespaced and suffix != "ForAllNamespaces" else ""
    place = f"{_group(resource)}{resource.version.capitalize()}{many}{space}"
    return f"{_NAMES.get(verb, verb)}{place}{resource.kind}{suffix}"


def _responses(
    resource: Resource, verb: str, own: Schema, refer: References
) -> dict[str, dict[str, Any]]:
    match verb:
        case "list":
            streams = STREAMS if "watch" in resource.verbs else ()
            responses = {"200": _content("OK", refer.listed, (*BODIES, *streams))}
        case "create":
            responses = {"201": _content("Created", own, BODIES)}
        case "deletecollection":
            responses = {"200": _content("OK", refer.listed)}
        case "delete":
            responses = {"200": _content("OK", refer.deleted)}
        case _:
            types = TEXT if own == TEXT_SCHEMA else BODIES
            responses = {"200": _content("OK", own, types)}
    return {**responses, "401": {"description": "Unauthorized"}}


def _content(
    description: str, schema: Schema, media_types: tuple[str, ...] = BODIES[:1]
) -> dict[str, Any]:
    made: dict[str, Any] = {"description": description} if description else {}
    return {**made, "content": {media_type: {"schema": schema} for media_type in media_types}}


def _parameters(verb: str) -> list[dict[str, Any]]:
    match verb:
        case "create" | "update" | "patch":
            wanted = [(name, "string") for name in _WRITES]
        case "list":
            wanted = list(_LISTS)
        case "log":
            wanted = list(_LOGS)
        case "delete":
            wanted = list(_DELETES)
        case "deletecollection":
            wanted = [*_LISTS[:6], *_DELETES]
        case _:
            wanted = []
    return _query(wanted)


def _query(wanted: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": {"type": kind}} for name, kind in wanted]
