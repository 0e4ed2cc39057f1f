"""Lists objects with nothing but grpcio and grpcio-reflection: [KIND].

No generated code: the server describes its service. Wants WHERRY_URL, WHERRY_TOKEN and WHERRY_CA.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "wherry.v1.Cluster"


class Bearer(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Adds a token to every call.

    gRPC's own access_token_call_credentials can hang when the channel is closed:
    https://github.com/grpc/grpc/pull/42247
    """

    def __init__(self, token: str) -> None:
        self._token = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Go on with the token."""
        return continuation(self._with_token(details), request)

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        """Go on with the token."""
        return continuation(self._with_token(details), requests)

    def _with_token(self, details: Any) -> Any:
        return details._replace(metadata=[*(details.metadata or ()), self._token])


def call(channel: grpc.Channel, method_name: str, **fields: Any) -> Any:
    """Call a method by its name, with a request of these fields."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName(SERVICE).FindMethodByName(method_name)
    request = GetMessageClass(method.input_type)(**fields)
    answer = GetMessageClass(method.output_type)
    invoke: Any = channel.unary_unary(
        f"/{SERVICE}/{method_name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    return invoke(request, timeout=30)


def main(kind: str = "Namespace") -> None:
    """Print namespace and name of every object of a kind."""
    authority = Path(os.environ["WHERRY_CA"]).read_bytes()
    target = os.environ["WHERRY_URL"].removeprefix("https://")
    with grpc.secure_channel(target, grpc.ssl_channel_credentials(authority)) as opened:
        channel = grpc.intercept_channel(opened, Bearer(os.environ["WHERRY_TOKEN"]))
        for data in call(channel, "List", resource={"kind": kind}).items:
            meta = json.loads(data)["metadata"]
            print(f"{meta.get('namespace', '-')}/{meta['name']}")


if __name__ == "__main__":
    lacking = {"WHERRY_URL", "WHERRY_TOKEN", "WHERRY_CA"} - set(os.environ)
    if lacking or len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(error.details())
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
