"""What gRPC tools ask for: health without credentials, reflection with them."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from common.client.grpc import GrpcClient, channel
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
SERVING = health_pb2.HealthCheckResponse.SERVING


async def test_reflection(client: GrpcClient) -> None:
    """Every service, and every file that it needs, can be read from a server just started.

    This test comes first in its file: nobody has asked that master for its health yet.
    """
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    ask = reflection_pb2.ServerReflectionRequest
    names = ["wherry.v1.Cluster", "grpc.health.v1.Health"]
    questions = [ask(list_services=""), *(ask(file_containing_symbol=name) for name in names)]
    call = stub.ServerReflectionInfo(iter(questions))
    services = await call.read()
    listed = [service.name for service in services.list_services_response.service]
    assert set(names) <= set(listed)
    for _ in names:
        files = await call.read()
        assert len(files.file_descriptor_response.file_descriptor_proto) >= 1


async def test_health(master: RunningMaster) -> None:
    """Anybody may ask on 6445 whether the master serves, as anybody may read /readyz."""
    ca = grpc.ssl_channel_credentials(master.kubeconfig.ca_pem)
    target = f"127.0.0.1:{master.script_port}"
    async with grpc.aio.secure_channel(target, ca) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        for name in ("", "wherry.v1.Cluster"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == SERVING
        listed = await stub.List(health_pb2.HealthListRequest())
        assert listed.statuses["wherry.v1.Cluster"].status == SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        watch.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(health_pb2.HealthCheckRequest(service="x"))
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


async def test_health_with_credentials(client: GrpcClient) -> None:
    """Both ports have the service."""
    stub = health_pb2_grpc.HealthStub(client.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING


async def test_reflection_needs_credentials(master: RunningMaster) -> None:
    """Nobody learns the service without a token."""
    async with GrpcClient(channel(master.with_token("wrong"))) as anybody:
        stub = reflection_pb2_grpc.ServerReflectionStub(anybody.channel)
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ServerReflectionInfo(iter([ask])).read()
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


METHODS = {
    "/wherry.v1.Cluster/Get": "unary_unary",
    "/wherry.v1.Cluster/Watch": "unary_stream",
    "/grpc.health.v1.Health/Check": "unary_unary",
    "/grpc.health.v1.Health/Watch": "unary_stream",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "stream_stream",
    "/etcdserverpb.KV/Range": "unary_unary",
    "/etcdserverpb.Watch/Watch": "stream_stream",
}


@pytest.mark.parametrize(
    ("who", "path"),
    [
        *(("administrator", path) for path in METHODS),
        *(("stranger", path) for path in METHODS if not path.startswith("/etcdserverpb")),
    ],
)
async def test_bytes_that_are_no_message(master: RunningMaster, path: str, who: str) -> None:
    """They are the sender's mistake on every method, for strangers too, and leave no traceback."""
    settings = master.with_token("wrong") if who == "stranger" else master.with_certificate()
    form, data = METHODS[path], b"\xff\xff"
    async with channel(settings) as opened:
        call = getattr(opened, form)(path)(iter([data]) if form == "stream_stream" else data)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await (call if form == "unary_unary" else call.read())
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in master.log.read_text(errors="replace")
