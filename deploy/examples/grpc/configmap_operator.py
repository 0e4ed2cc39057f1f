"""An operator: keeps a ConfigMap `NAME-info` beside each Deployment that is labelled `info=yes`.

The ConfigMap says how many replicas are wanted and are ready. It is owned by its Deployment, so the
garbage collector removes it with it; what somebody else changes in it is put right again.
"""

import json
from typing import Any

from common.client import Informer, Item, SystemClock, WorkQueue, connect
from common.client.informer import split_key
from common.client.operator import add_owner_to, add_to, start
from common.client.script import run

LABEL = "info"


def wanted(deployment: Item) -> dict[str, Any]:
    """The ConfigMap that should be there: a pure function, easy to test."""
    plain = json.loads(deployment.data)
    owner: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment"}
    owner.update(name=deployment.name, uid=deployment.uid, controller=True)
    ready = plain.get("status", {}).get("readyReplicas", 0)
    return {
        "metadata": {"name": f"{deployment.name}-info", "ownerReferences": [owner]},
        "data": {"wanted": str(plain["spec"].get("replicas", 1)), "ready": str(ready)},
    }


async def main() -> None:
    """Until Ctrl-C."""
    async with connect() as client:
        maps, clock = client.resource("configmaps"), SystemClock()
        deployments = Informer(client, client.resource("deployments"), clock=clock)
        infos = Informer(client, maps, clock=clock)
        queue = WorkQueue(clock)
        deployments.add_handler(add_to(queue))
        infos.add_handler(add_owner_to(queue, "Deployment"))

        async def reconcile(key: str) -> None:
            """Make one Deployment's ConfigMap what it should be; errors bring the key back."""
            deployment = deployments.lister.by_key(key)
            if deployment is None or deployment.labels.get(LABEL) != "yes":
                return
            namespace, _ = split_key(key)
            want = wanted(deployment)
            name = want["metadata"]["name"]
            have = infos.lister.get(namespace, name)
            if have is None:
                await client.create(maps, namespace, json.dumps(want).encode())
                print(f"{key}: created {name}", flush=True)
            elif json.loads(have.data).get("data") != want["data"]:
                await client.patch(maps, namespace, name, {"data": want["data"]})
                print(f"{key}: updated {name} to {want['data']}", flush=True)

        await start([deployments, infos], queue, reconcile)


if __name__ == "__main__":
    run(main, __doc__)
