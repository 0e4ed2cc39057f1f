"""Follows the logs of all pods that match a label selector, side by side: SELECTOR [NAMESPACE]."""

import asyncio
import json
import sys

import grpc

from common.client import connect
from common.client.grpc import GrpcClient
from common.client.script import run
from protos import cluster_v1_pb2 as pb


async def main(selector: str, namespace: str = "default") -> None:
    """Until every container has ended, or Ctrl-C."""
    async with connect() as client:
        listed = await client.list(client.resource("pods"), namespace, label_selector=selector)
        async with asyncio.TaskGroup() as group:
            for data in listed.items:
                pod = json.loads(data)
                for container in pod["spec"]["containers"]:
                    name = pod["metadata"]["name"]
                    group.create_task(follow(client, namespace, name, container["name"]))


async def follow(client: GrpcClient, namespace: str, pod: str, container: str) -> None:
    """Print the lines of one container with its name before each."""
    request = pb.LogsRequest(
        namespace=namespace, pod=pod, container=container, follow=True, tail_lines=10
    )
    rest = b""
    try:
        async for reply in client.stub.Logs(request):
            *lines, rest = (rest + reply.data).split(b"\n")
            for line in lines:
                print(f"{pod}/{container}: {line.decode(errors='replace')}", flush=True)
    except grpc.aio.AioRpcError as error:
        print(f"{pod}/{container}: {error.details()}", file=sys.stderr)


if __name__ == "__main__":
    run(main, __doc__)
