"""OpenAPI v2 from v3: the same schemas and operations in the older format, as one document.

kubectl before 1.27 validates manifests with it, Helm 3 and client libraries read it. Newer ones do
so for what cannot be patched, such as reviews: they ask v3, and then v2, whether the server
validates it. If v2 names `fieldValidation` for Namespaces, they next list the definitions of custom
resources, and give up since nobody serves them: so it is left out.
Source: https://swagger.io/specification/v2/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_V3, _V2 = "#/components/schemas/", "#/definitions/"
_KEPT = (
    "tags",
    "description",
    "operationId",
    "x-kubernetes-action",
    "x-kubernetes-group-version-kind",
)
_LEFT_OUT = "fieldValidation"
Plain = dict[str, Any]


def document(documents: Iterable[Plain], info: Plain) -> Plain:
    """One v2 document of many v3 documents, in which equal names mean the same."""
    paths: Plain = {}
    definitions: Plain = {}
    for made in documents:
        paths.update({path: _path(item) for path, item in made["paths"].items()})
        definitions.update(made["components"]["schemas"])
    return {
        "swagger": "2.0",
        "info": info,
        "paths": dict(sorted(paths.items())),
        "definitions": {name: schema(definitions[name]) for name in sorted(definitions)},
        "securityDefinitions": {
            "BearerToken": {
                "description": "Bearer Token authentication",
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
            }
        },
        "security": [{"BearerToken": []}],
    }


def schema(plain: Plain) -> Plain:
    """A v2 schema. What may be of several types is a string in v2, by Kubernetes' convention."""
    made: Plain = {}
    for key, value in plain.items():
        match key:
            case "$ref":
                made[key] = value.replace(_V3, _V2)
            case "allOf":
                made |= schema(value[0])
            case "oneOf":
                made["type"] = "string"
            case "items" | "additionalProperties":
                made[key] = schema(value)
            case "properties":
                made[key] = {name: schema(inner) for name, inner in value.items()}
            case _:
                made[key] = value
    return made


def _path(item: Plain) -> Plain:
    return {
        method: [_parameter(one) for one in made] if method == "parameters" else _operation(made)
        for method, made in item.items()
    }


def _parameter(plain: Plain) -> Plain:
    made = {key: value for key, value in plain.items() if key != "schema"}
    return {**made, **plain["schema"], "uniqueItems": True}


def _operation(plain: Plain) -> Plain:
    made = {key: plain[key] for key in _KEPT}
    parameters = [_parameter(one) for one in plain["parameters"] if one["name"] != _LEFT_OUT]
    consumes = ["*/*"]
    if (body := plain.get("requestBody")) is not None:
        parameters.insert(0, _body(body))
        if plain["x-kubernetes-action"] == "patch":
            consumes = list(body["content"])
    produces: dict[str, None] = {}
    responses = {}
    for code, answer in plain["responses"].items():
        content = answer.get("content", {})
        produces.update(dict.fromkeys(content))
        responses[code] = {"description": answer["description"]} | _first_schema(content)
    return {
        **made,
        "schemes": ["https"],
        "consumes": consumes,
        "produces": list(produces),
        "parameters": parameters,
        "responses": responses,
    }


def _body(plain: Plain) -> Plain:
    made = {"in": "body", "name": "body"} | _first_schema(plain["content"])
    return {**made, "required": True} if plain.get("required") else made


def _first_schema(content: Plain) -> Plain:
    """The schema of a body, which is the same for all of its media types."""
    for one in content.values():
        return {"schema": schema(one["schema"])}
    return {}
