"""Gives a Deployment a new image and shows the rollout: NAME IMAGE [NAMESPACE]."""

import asyncio
import json
import sys

from common.api.errors import StatusError
from common.client import connect
from common.client.apply import follow
from common.client.grpc import object_name
from protos import cluster_v1_pb2 as pb


async def main(name: str, image: str, namespace: str = "default") -> None:
    """Exits with 1 when the rollout does not come to its end in time."""
    async with connect() as client:
        deployments = client.resource("deployments")
        found = json.loads(await client.get(deployments, namespace, name))
        first = found["spec"]["template"]["spec"]["containers"][0]["name"]
        # A strategic patch finds the container by its name and leaves the others alone.
        containers = {"containers": [{"name": first, "image": image}]}
        patch = {"spec": {"template": {"spec": containers}}}
        changed = await client.stub.Patch(
            pb.PatchRequest(
                object=object_name(deployments, namespace, name),
                type=pb.PatchRequest.STRATEGIC,
                body=json.dumps(patch).encode(),
            )
        )
        async for progress in follow(client, json.loads(changed.object)):
            print(progress.text, flush=True)
            if progress.failed:
                sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except StatusError as error:
        sys.exit(str(error))
