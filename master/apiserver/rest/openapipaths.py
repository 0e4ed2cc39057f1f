"""The operations of resources in OpenAPI v3 documents: paths, parameters, bodies and answers."""

from __future__ import annotations

from typing import Any

from common.api.resource import Resource

MERGES = ("application/merge-patch+json", "application/strategic-merge-patch+json")
BODIES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_OF_ONE = (("get", "get"), ("put", "update"), ("delete", "delete"), ("patch", "patch"))
_OF_ALL = (("get", "list"), ("post", "create"), ("delete", "deletecollection"))
_WORDS = {"create": "post", "update": "put", "get": "get", "list": "list", "patch": "patch"}
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
Schema = dict[str, Any]


def path_of(resource: Resource) -> str:
    """`api/v1` or `apis/GROUP/VERSION`."""
    if resource.group:
        return f"apis/{resource.group}/{resource.version}"
    return f"api/{resource.version}"


def gvk(resource: Resource) -> dict[str, str]:
    """The kind of a resource as extensions name it."""
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def paths(
    resource: Resource, own: Schema, listed: Schema, below: dict[str, Schema], options: Schema
) -> dict[str, Any]:
    """The paths of a resource.

    `own`, `listed`, `options` refer to the schemas of the kind, of its list and of DeleteOptions;
    `below` are the subresources that are served, with theirs.
    """
    root = f"/{path_of(resource)}"
    base = f"{root}/namespaces/{{namespace}}" if resource.namespaced else root
    collection, one = f"{base}/{resource.plural}", f"{base}/{resource.plural}/{{name}}"
    found = {
        collection: _operations(resource, _OF_ALL, own, listed, options),
        one: _operations(resource, _OF_ONE, own, listed, options),
    }
    if resource.namespaced and "list" in resource.verbs:
        everywhere = _operation(resource, "list", own, listed, options, suffix="ForAllNamespaces")
        found[f"{root}/{resource.plural}"] = {"get": everywhere}
    for name, schema in below.items():
        verbs = (("put", "update"), ("get", "get"), ("patch", "patch"))
        made = {
            method: _operation(resource, verb, schema, listed, options, suffix=name.capitalize())
            for method, verb in verbs
        }
        found[f"{one}/{name}"] = made
    return {path: {**_places(path), **made} for path, made in found.items() if made}


def _places(path: str) -> dict[str, Any]:
    """The parameters that stand in the path itself."""
    places = [name for name in ("namespace", "name") if f"{{{name}}}" in path]
    if not places:
        return {}
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in places
        ]
    }


def _operations(
    resource: Resource,
    methods: tuple[tuple[str, str], ...],
    own: Schema,
    listed: Schema,
    options: Schema,
) -> dict[str, Any]:
    return {
        method: _operation(resource, verb, own, listed, options)
        for method, verb in methods
        if verb in resource.verbs
    }


def _operation(
    resource: Resource, verb: str, own: Schema, listed: Schema, options: Schema, suffix: str = ""
) -> dict[str, Any]:
    group = resource.group.partition(".")[0].capitalize() or "Core"
    space = "Namespaced" if resource.namespaced and suffix != "ForAllNamespaces" else ""
    name = f"{verb}{group}{resource.version.capitalize()}{space}{resource.kind}{suffix}"
    answer = listed if verb in ("list", "deletecollection") else own
    made: dict[str, Any] = {
        "operationId": name,
        "parameters": _parameters(verb),
        "responses": {_code(verb): _content("OK", answer), "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": _WORDS.get(verb, verb),
        "x-kubernetes-group-version-kind": gvk(resource),
    }
    if verb in ("create", "update"):
        made["requestBody"] = {"required": True, **_content("", own, BODIES)}
    elif verb == "patch":
        anything = {"type": "object"}
        body = _content("", anything, MERGES)["content"]
        body["application/json-patch+json"] = {"schema": {"type": "array", "items": anything}}
        made["requestBody"] = {"required": True, "content": body}
    elif verb in ("delete", "deletecollection"):
        made["requestBody"] = _content("", options)
    return made


def _code(verb: str) -> str:
    return "201" if verb == "create" else "200"


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
        case "delete":
            wanted = list(_DELETES)
        case "deletecollection":
            wanted = [*dict([*_LISTS[:6], *_DELETES]).items()]
        case _:
            wanted = []
    return [{"name": name, "in": "query", "schema": {"type": kind}} for name, kind in wanted]
