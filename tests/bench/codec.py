"""A client's pod in, and out to the store: decode, strict checks, canonical form, encode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from common.api.codec import json as codec
from common.api.codec import protobuf
from common.api.types.core_v1 import Pod
from tests.bench.measure import Row, cpu_us


def pod_4kb() -> bytes:
    """A pod of about 4 KB, as a client sends it."""
    plain: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-7d4b9c6f5-x2x9z",
            "namespace": "default",
            "labels": {f"example.com/label-{n}": f"value-{n}" for n in range(8)},
            "annotations": {f"example.com/note-{n}": "text " * 12 for n in range(8)},
        },
        "spec": {
            "containers": [
                {
                    "name": f"c{n}",
                    "image": f"registry.example.com/team/app-{n}:1.2.3",
                    "command": ["/bin/app", "--verbose", "--port=8080"],
                    "env": [{"name": f"NAME_{k}", "value": f"value of {k}"} for k in range(10)],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "64Mi"},
                        "limits": {"cpu": "500m", "memory": "128Mi"},
                    },
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
                }
                for n in range(2)
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute"}],
        },
    }
    return json.dumps(plain).encode()


def rows() -> Iterator[Row]:
    """The part of the report."""
    data = pod_4kb()

    def through() -> bytes:
        pod, findings = codec.decode_request(data, Pod)
        assert not findings
        return codec.encode(pod)

    plain = json.loads(data)
    envelope = protobuf.encode(plain)
    size = f"{len(data) / 1000:.1f} KB"
    own = cpu_us(through, times=300)
    stdlib = cpu_us(lambda: json.dumps(json.loads(data)), times=300)
    yield Row(f"pod of {size}: decode, strict checks, encode", f"{own:.0f} us", "60 us")
    yield Row("  the standard library's loads + dumps, no checks", f"{own / stdlib:.2f} times it")
    yield Row(
        "  from Kubernetes' protobuf to plain values",
        f"{cpu_us(lambda: protobuf.decode(envelope), times=100):.0f} us",
    )
