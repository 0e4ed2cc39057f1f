"""Prints every Warning of the cluster as it happens; put what you want to do in its place."""

import json

from common.client import connect
from common.client.script import run


async def main() -> None:
    """Until Ctrl-C."""
    async with connect() as client:
        async for events in client.watch(client.resource("events"), field_selector="type=Warning"):
            for event in (json.loads(e.data) for e in events if e.type != "BOOKMARK"):
                print(
                    event["involvedObject"]["name"], event["reason"], event["message"], flush=True
                )


if __name__ == "__main__":
    run(main, __doc__)
