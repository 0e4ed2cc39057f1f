"""Gives a Deployment a new image and shows the rollout: NAME IMAGE [NAMESPACE]."""

import json
import sys

from common.client import connect
from common.client.apply import follow
from common.client.grpc import object_name
from common.client.script import run
from protos import cluster_v1_pb2 as pb


async def main(name: str, image: str, namespace: str = "default") -> None:
    """Exits with 1 when the rollout does not come to its end in time."""
    async with connect() as client:
        deployments = client.resource("deployments")
        deployment = json.loads(await client.get(deployments, namespace, name))
        first = deployment["spec"]["template"]["spec"]["containers"][0]["name"]
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
    run(main, __doc__)
