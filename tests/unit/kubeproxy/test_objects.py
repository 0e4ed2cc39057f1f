"""The proxy's own Structs read the API's fields, each under its name in the API."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from common.api.codec.json import decode_request
from common.api.types.core_v1 import Service
from common.api.types.discovery_v1 import EndpointSlice
from node.kubeproxy import objects

SERVICE = {
    "metadata": {
        "labels": {
            "service.kubernetes.io/headless": "",
            "service.kubernetes.io/service-proxy-name": "other",
        }
    },
    "spec": {
        "type": "NodePort",
        "clusterIP": "10.43.0.10",
        "externalIPs": ["198.51.100.7"],
        "ports": [{"name": "web", "protocol": "TCP", "port": 80, "nodePort": 30080}],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "internalTrafficPolicy": "Local",
        "externalTrafficPolicy": "Local",
    },
}
SLICE = {
    "metadata": {
        "labels": {
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "me",
        }
    },
    "addressType": "IPv4",
    "endpoints": [
        {
            "addresses": ["10.42.1.2"],
            "conditions": {"ready": False, "serving": True, "terminating": True},
            "nodeName": "n1",
        }
    ],
    "ports": [{"name": "web", "protocol": "TCP", "port": 8080}],
}


@pytest.mark.parametrize(
    ("plain", "whole", "part"),
    [(SERVICE, Service, objects.Service), (SLICE, EndpointSlice, objects.EndpointSlice)],
)
def test_every_field_is_the_apis(
    plain: dict[str, Any], whole: type[msgspec.Struct], part: type[msgspec.Struct]
) -> None:
    """The API knows all of `plain`, and the proxy reads just that."""
    data = json.dumps(plain).encode()
    assert decode_request(data, whole)[1] == []
    found = msgspec.json.decode(data, type=part)
    assert json.loads(objects.encode(found)) == plain
    assert unset(found) == []


def unset(found: msgspec.Struct) -> list[str]:
    """The fields of an object, and below it, that have their default: nothing was checked there."""
    missing = []
    for field in msgspec.structs.fields(found):
        value = getattr(found, field.name)
        if value == field.default:
            missing.append(field.name)
        for member in value if isinstance(value, tuple) else (value,):
            missing += unset(member) if isinstance(member, msgspec.Struct) else []
    return missing
