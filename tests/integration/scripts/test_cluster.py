"""The Cluster service: every verb with both kinds of credentials, errors, forms, watches."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from common.api.codec import protobuf
from common.api.errors import StatusError
from common.client.grpc import GrpcClient, channel, object_name
from common.client.grpcerrors import status_error
from common.client.https import KubeConfig
from protos import cluster_v1_pb2 as pb
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]


def config_map(name: str, **data: str) -> bytes:
    """A ConfigMap as JSON."""
    meta = {"name": name, "labels": {"made-by": "test"}}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
    ).encode()


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def test_every_verb(client: GrpcClient) -> None:
    """Create, get, list, update, patch, delete; each sees what the others did."""
    maps = client.resource("cm")
    made = json.loads(await client.create(maps, "default", config_map("verbs", a="1")))
    assert made["metadata"]["uid"]
    made["data"]["b"] = "2"
    changed = json.loads(await client.update(maps, "default", "verbs", json.dumps(made).encode()))
    assert changed["data"] == {"a": "1", "b": "2"}
    with pytest.raises(StatusError) as stale:
        await client.update(maps, "default", "verbs", json.dumps(made).encode())
    assert (stale.value.code, stale.value.reason) == (409, "Conflict")
    await client.patch(maps, "default", "verbs", {"data": {"a": None}})
    found = json.loads(await client.get(maps, "default", "verbs"))
    assert found["data"] == {"b": "2"}
    listed = await client.list(maps, "default", label_selector="made-by=test")
    assert [json.loads(data)["metadata"]["name"] for data in listed.items] == ["verbs"]
    assert listed.revision >= int(found["metadata"]["resourceVersion"])
    await client.delete(maps, "default", "verbs", uid=found["metadata"]["uid"])
    with pytest.raises(StatusError, match='configmaps "verbs" not found') as gone:
        await client.get(maps, "default", "verbs")
    assert gone.value.code == 404


async def test_status_is_kubernetes_own(client: GrpcClient) -> None:
    """Errors have the fitting gRPC code and the whole Status in the trailing metadata."""
    body = b'{"metadata":{"name":"Bad_Name"},"spec":{"containers":[]}}'
    wanted = object_name(client.resource("pods"), "default")
    error = await refused(client.stub.Create(pb.CreateRequest(object=wanted, body=body)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    status = status_error(error)
    assert status.code == 422
    fields = {cause["field"] for cause in (status.details or {})["causes"]}
    assert {"metadata.name", "spec.containers"} <= fields
    maps = client.resource("configmaps")
    await client.create(maps, "default", config_map("twice"))
    again = pb.CreateRequest(object=object_name(maps, "default"), body=config_map("twice"))
    error = await refused(client.stub.Create(again))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    await client.delete(maps, "default", "twice")
    odd = pb.CreateRequest(
        object=object_name(maps, "default"), body=config_map("\u00e9\x01%" * 3000)
    )
    error = await refused(client.stub.Create(odd))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert status_error(error).reason == "Invalid"
    many = {f"key {i}": "v" * 200 for i in range(200)}
    huge = pb.CreateRequest(object=object_name(maps, "default"), body=config_map("h", **many))
    error = await refused(client.stub.Create(huge))
    assert status_error(error).reason == "Invalid"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pb.GetRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.GetRequest(object={"resource": {"plural": "pods"}}), grpc.StatusCode.INVALID_ARGUMENT),
        (
            pb.GetRequest(object={"resource": {"plural": "x"}, "name": "x"}),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            pb.GetRequest(
                object={"resource": {"plural": "pods"}, "namespace": "a/../b", "name": "x"}
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            pb.GetRequest(
                object={"resource": {"plural": "nodes"}, "namespace": "default", "name": "x"}
            ),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            pb.GetRequest(object={"resource": {"plural": "pods"}, "name": "x"}),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            pb.ListRequest(resource={"plural": "namespaces"}, encoding=77),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (pb.NodeUsageRequest(node="none"), grpc.StatusCode.NOT_FOUND),
        (
            pb.GetRequest(object={"resource": {"plural": "pods", "version": "v9"}, "name": "x"}),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            pb.ListRequest(resource={"plural": "pods"}, label_selector="((("),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (pb.ListRequest(resource={"plural": "pods"}, limit=-1), grpc.StatusCode.INVALID_ARGUMENT),
        (
            pb.ListRequest(resource={"plural": "pods"}, resource_version_match="Exact"),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            pb.LogsRequest(namespace="default", pod="none"),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            pb.WatchRequest(resource={"plural": "pods"}, resource_version="x"),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            pb.WatchRequest(resource={"plural": "pods"}, encoding=pb.TABLE),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
    ids=str,
)
async def test_requests_that_make_no_sense(
    client: GrpcClient, request_: Any, code: grpc.StatusCode
) -> None:
    """Each has an answer of its own, and none is INTERNAL."""
    stub = client.stub
    if isinstance(request_, pb.GetRequest):
        error = await refused(stub.Get(request_))
    elif isinstance(request_, pb.ListRequest):
        error = await refused(stub.List(request_))
    elif isinstance(request_, pb.LogsRequest):
        error = await refused(stub.Logs(request_).read())
    elif isinstance(request_, pb.NodeUsageRequest):
        error = await refused(stub.NodeUsage(request_).read())
    else:
        error = await refused(stub.Watch(request_).read())
    assert error.code() == code, error.details()
    assert status_error(error).message


@pytest.mark.parametrize(
    "name",
    [
        pb.ResourceName(group="apps", version="v1", plural="deployments"),
        pb.ResourceName(group="apps", kind="Deployment"),
        pb.ResourceName(kind="Deployment"),
        pb.ResourceName(plural="deploy"),
        pb.ResourceName(plural="deployments"),
    ],
    ids=str,
)
async def test_names_of_a_kind(client: GrpcClient, name: pb.ResourceName) -> None:
    """A kind may be named by its plural or kind, with or without its group."""
    found = await client.stub.List(pb.ListRequest(resource=name))
    assert int(found.resource_version) > 0


async def test_forms(client: GrpcClient) -> None:
    """JSON, Kubernetes' protobuf, and the Table of `kubectl get`; protobuf goes in as well."""
    maps = client.resource("configmaps")
    wanted = object_name(maps, "default", "forms")
    plain = json.loads(config_map("forms", a="1"))
    made = await client.stub.Create(
        pb.CreateRequest(
            object=object_name(maps, "default"),
            body=protobuf.encode(plain),
            encoding=pb.PROTOBUF,
        )
    )
    assert made.object.startswith(b"k8s\0")
    assert protobuf.decode(made.object)["data"] == {"a": "1"}
    found = await client.stub.Get(pb.GetRequest(object=wanted))
    assert json.loads(found.object)["data"] == {"a": "1"}
    table = await client.table(maps, "default")
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names[0] == "Name"
    assert "forms" in [row["cells"][0] for row in table["rows"]]
    assert len((await client.table(maps, "default", "forms"))["rows"]) == 1
    await client.delete(maps, "default", "forms")


async def test_options(client: GrpcClient) -> None:
    """Dry runs store nothing; unknown fields warn or are refused; deletes name the uid; pages."""
    maps = client.resource("configmaps")
    body = json.dumps({**json.loads(config_map("options")), "dat": {}}).encode()
    target = object_name(maps, "default")
    dry = pb.CreateRequest(object=target, body=body, options=pb.WriteOptions(dry_run=True))
    assert "dat" in (await client.stub.Create(dry)).warnings[0]
    with pytest.raises(StatusError):
        await client.get(maps, "default", "options")
    strict = pb.WriteOptions(field_validation="Strict")
    error = await refused(
        client.stub.Create(pb.CreateRequest(object=target, body=body, options=strict))
    )
    assert "strict decoding error" in (error.details() or "")
    for number in range(3):
        await client.create(maps, "kube-public", config_map(f"page-{number}"))
    with pytest.raises(StatusError) as conflict:
        await client.delete(maps, "kube-public", "page-0", uid="other")
    assert conflict.value.code == 409
    query: dict[str, Any] = {"resource": {"plural": "configmaps"}, "namespace": "kube-public"}
    query["label_selector"] = "made-by=test"
    first = await client.stub.List(pb.ListRequest(limit=2, **query))
    assert len(first.items) == 2
    query["continue"] = getattr(first, "continue")
    rest = await client.stub.List(pb.ListRequest(limit=2, **query))
    assert [json.loads(data)["metadata"]["name"] for data in rest.items] == ["page-2"]
    assert not getattr(rest, "continue")
    for number in range(3):
        await client.delete(maps, "kube-public", f"page-{number}")


async def test_scale_and_patches(client: GrpcClient) -> None:
    """Subresources and all three kinds of patches."""
    deployments = client.resource("deployments")
    template = {
        "metadata": {"labels": {"app": "w"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    body = {"metadata": {"name": "w"}, "spec": spec}
    await client.create(deployments, "default", json.dumps(body).encode())
    await client.patch(deployments, "default", "w", {"spec": {"replicas": 0}}, subresource="scale")
    wanted = object_name(deployments, "default", "w")
    patches: list[tuple[Any, Any]] = [
        (pb.PatchRequest.MERGE, {"metadata": {"labels": {"a": "1"}}}),
        (
            pb.PatchRequest.JSON_PATCH,
            [{"op": "add", "path": "/metadata/labels/b", "value": "2"}],
        ),
        (
            pb.PatchRequest.STRATEGIC,
            {
                "spec": {
                    "template": {"spec": {"containers": [{"name": "d", "image": "y"}]}},
                }
            },
        ),
    ]
    for kind, document in patches:
        request = pb.PatchRequest(object=wanted, type=kind, body=json.dumps(document).encode())
        answer = await client.stub.Patch(request)
    changed = json.loads(answer.object)
    assert changed["metadata"]["labels"] == {"a": "1", "b": "2"}
    containers = changed["spec"]["template"]["spec"]["containers"]
    assert {container["name"] for container in containers} == {"c", "d"}
    scale = await client.stub.Get(
        pb.GetRequest(object=object_name(deployments, "default", "w", "scale"))
    )
    assert json.loads(scale.object)["kind"] == "Scale"
    await client.delete(deployments, "default", "w")


async def test_watch(client: GrpcClient) -> None:
    """What is there comes first, a bookmark ends it, then every change in order."""
    maps = client.resource("configmaps")
    await client.create(maps, "kube-system", config_map("watched", a="1"))
    call = client.stub.Watch(
        pb.WatchRequest(
            resource={"plural": "configmaps"},
            namespace="kube-system",
            label_selector="made-by=test",
            send_initial_events=True,
        )
    )
    first, bookmark = await call.read(), await call.read()
    assert first.type == pb.WatchEvent.ADDED
    assert (bookmark.type, bookmark.initial_end, bookmark.object) == (
        pb.WatchEvent.BOOKMARK,
        True,
        b"",
    )
    await client.patch(maps, "kube-system", "watched", {"data": {"a": "2"}})
    changed = await call.read()
    assert changed.type == pb.WatchEvent.MODIFIED
    assert json.loads(changed.object)["data"] == {"a": "2"}
    assert json.loads(changed.object)["metadata"]["resourceVersion"] == changed.resource_version
    # Ceasing to match is DELETED for this watch.
    await client.patch(maps, "kube-system", "watched", {"metadata": {"labels": None}})
    assert (await call.read()).type == pb.WatchEvent.DELETED
    call.cancel()
    since = changed.resource_version
    later = client.watch(maps, "kube-system", resource_version=since)
    (event,) = await anext(later)
    assert event.type == "MODIFIED"
    await later.aclose()
    await client.delete(maps, "kube-system", "watched")


async def test_history_that_is_gone(client: GrpcClient) -> None:
    """A watch from before the cache ends with OUT_OF_RANGE and a Status 410."""
    request = pb.WatchRequest(resource={"plural": "configmaps"}, resource_version="1")
    error = await refused(client.stub.Watch(request).read())
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE
    assert status_error(error).code == 410


async def test_nodes_have_their_own_rules(master: RunningMaster) -> None:
    """A node may do over gRPC what it may do over REST, and no more."""
    master.admin().json("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    node = master.with_certificate(master.node_certificate("n1"))
    async with GrpcClient(channel(node)) as client:
        nodes = client.resource("nodes")
        assert json.loads(await client.get(nodes, "", "n1"))["metadata"]["name"] == "n1"
        for call in (
            client.list(client.resource("secrets")),
            client.get(nodes, "", "n2"),
            client.delete(nodes, "", "n1"),
            client.patch(nodes, "", "n2", {}, subresource="status"),
        ):
            with pytest.raises(StatusError) as denied:
                await call
            assert denied.value.code == 403
        error = await refused(client.stub.NodeUsage(pb.NodeUsageRequest(once=True)).read())
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_every_method_needs_credentials(master: RunningMaster) -> None:
    """G1: no method says anything without credentials, also not what is wrong with a request."""
    ca = grpc.ssl_channel_credentials(master.kubeconfig.ca_pem)
    target = f"127.0.0.1:{master.script_port}"
    async with grpc.aio.secure_channel(target, ca) as opened:
        for method in pb.DESCRIPTOR.services_by_name["Cluster"].methods:
            call: Any = opened.unary_stream(f"/wherry.v1.Cluster/{method.name}")
            error = await refused(call(b"").read())
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED, method.name
            assert error.details() == "Unauthorized"


async def test_tokens(master: RunningMaster) -> None:
    """6445 wants a token that is right, on every call; guessers are slowed down."""
    for token in ("wrong", "aaaaaa." + "b" * 26):
        async with GrpcClient(channel(master.with_token(token))) as client:
            with pytest.raises(StatusError) as unknown:
                await client.list(client.resource("pods"))
            assert (unknown.value.code, unknown.value.reason) == (401, "Unauthorized")
    ca = grpc.ssl_channel_credentials(master.kubeconfig.ca_pem)
    target = f"127.0.0.1:{master.script_port}"
    async with GrpcClient(grpc.aio.secure_channel(target, ca)) as anybody:
        request = pb.ListRequest(resource={"plural": "pods"})
        error = await refused(anybody.stub.List(request))
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "wrong" not in master.log.read_text()


def test_kubeconfig_credentials(master: RunningMaster) -> None:
    """The administrator's kubeconfig has a certificate and no token."""
    config = KubeConfig(master.directory / "data/admin.kubeconfig")
    assert config.certificate is not None
    assert config.token == ""
