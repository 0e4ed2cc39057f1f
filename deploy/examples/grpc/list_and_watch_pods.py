"""Lists the pods of a namespace (all without one) and prints every change: [NAMESPACE]."""

import json

from common.client import connect
from common.client.script import run
from protos import cluster_v1_pb2 as pb


async def main(namespace: str = "") -> None:
    """Until Ctrl-C."""
    pods = pb.ResourceName(version="v1", plural="pods")
    async with connect() as client:
        listed = await client.stub.List(pb.ListRequest(resource=pods, namespace=namespace))
        for data in listed.items:
            show("THERE", data)
        request = pb.WatchRequest(
            resource=pods, namespace=namespace, resource_version=listed.resource_version
        )
        async for event in client.stub.Watch(request):
            if event.type != pb.WatchEvent.BOOKMARK:
                show(pb.WatchEvent.Type.Name(event.type), event.object)


def show(what: str, data: bytes) -> None:
    """One line a pod."""
    pod = json.loads(data)
    meta, status = pod["metadata"], pod.get("status", {})
    node = pod["spec"].get("nodeName", "-")
    name = f"{meta['namespace']}/{meta['name']}"
    print(f"{what:<9} {name:<40} {status.get('phase', '-'):<10} {node}", flush=True)


if __name__ == "__main__":
    run(main, __doc__)
