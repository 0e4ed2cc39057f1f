"""An OpenAPI v2 document as protobuf, in gnostic's form: protos/openapi_v2.proto.

The values of extensions and enums are YAML there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from common.api.codec import json as codec
from common.api.codec import yaml
from protos import openapi_v2_pb2 as v2

Plain = dict[str, Any]
_PLAIN_OPERATION = ("tags", "description", "operationId", "produces", "consumes", "schemes")


def document(plain: Plain) -> bytes:
    """The document's bytes."""
    made = v2.Document(swagger=plain["swagger"], info=v2.Info(**plain["info"]))
    for path, item in plain["paths"].items():
        made.paths.path.add(name=path, value=_path(item))
    made.definitions.additionalProperties.extend(_named(plain["definitions"]))
    for name, way in plain["securityDefinitions"].items():
        key = v2.Security(apiKey=v2.ApiKey(**way))
        made.securityDefinitions.additionalProperties.add(name=name, value=key)
    for needed in plain["security"]:
        made.security.add().additionalProperties.extend(
            v2.NamedScopes(name=name, value=v2.Scopes(value=scopes))
            for name, scopes in needed.items()
        )
    return made.SerializeToString()


def _path(item: Plain) -> v2.PathItem:
    made = v2.PathItem()
    for name, value in item.items():
        if name == "parameters":
            made.parameters.extend(_parameters(value))
        else:
            getattr(made, name).CopyFrom(_operation(value))
    return made


def _operation(plain: Plain) -> v2.Operation:
    made = v2.Operation(**{key: plain[key] for key in _PLAIN_OPERATION})
    made.parameters.extend(_parameters(plain["parameters"]))
    for code, answer in plain["responses"].items():
        response = made.responses.responseCode.add(name=code).value.response
        response.description = answer["description"]
        if "schema" in answer:
            response.schema.schema.CopyFrom(_schema(answer["schema"]))
    made.vendorExtension.extend(_extensions(plain))
    return made


def _parameters(found: Iterable[Plain]) -> Iterator[v2.ParametersItem]:
    for plain in found:
        match plain["in"]:
            case "body":
                about = {**plain, "schema": _schema(plain["schema"])}
                made = v2.Parameter(body=v2.BodyParameter(**about))
            case "query":
                query = v2.NonBodyParameter(query=v2.QueryParameter(**plain))
                made = v2.Parameter(elsewhere=query)
            case _:
                path = v2.NonBodyParameter(path=v2.PathParameter(**plain))
                made = v2.Parameter(elsewhere=path)
        yield v2.ParametersItem(parameter=made)


def _named(schemas: Plain) -> Iterator[v2.NamedSchema]:
    for name, plain in schemas.items():
        yield v2.NamedSchema(name=name, value=_schema(plain))


def _schema(plain: Plain) -> v2.Schema:
    made = v2.Schema(
        ref=plain.get("$ref", ""),
        format=plain.get("format", ""),
        description=plain.get("description", ""),
        required=plain.get("required", ()),
    )
    if "type" in plain:
        made.type.value.append(plain["type"])
    if "items" in plain:
        made.items.schema.append(_schema(plain["items"]))
    if "additionalProperties" in plain:
        made.additionalProperties.schema.CopyFrom(_schema(plain["additionalProperties"]))
    if "properties" in plain:  # to readers, an object without them is a map
        made.properties.additionalProperties.extend(_named(plain["properties"]))
    made.enum.extend(_any(value) for value in plain.get("enum", ()))
    made.vendorExtension.extend(_extensions(plain))
    return made


def _extensions(plain: Plain) -> Iterator[v2.NamedAny]:
    for name, value in plain.items():
        if name.startswith("x-"):
            yield v2.NamedAny(name=name, value=_any(value))


def _any(value: Any) -> v2.Any:
    return v2.Any(yaml=_yaml(codec.encode(value)))


@cache
def _yaml(data: bytes) -> str:
    """JSON as YAML, as far as the few values of a document go."""
    return yaml.encode(codec.decode_plain(data)).decode()
