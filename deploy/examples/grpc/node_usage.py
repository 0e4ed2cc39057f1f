"""Prints what each machine uses, each time that it reports: [NODE]."""

from common.client import connect
from common.client.script import run
from protos import cluster_v1_pb2 as pb

GIB = 1 << 30


async def main(node: str = "") -> None:
    """Until Ctrl-C."""
    async with connect() as client:
        async for reply in client.stub.NodeUsage(pb.NodeUsageRequest(node=node)):
            usage = reply.usage
            used, free = usage.memory_working_set_bytes, usage.memory_available_bytes
            disk, disk_total = usage.disk_used_bytes, usage.disk_total_bytes
            print(
                f"{reply.node:<16}"
                f" cpu {usage.cpu_nanocores / 1e9:5.2f} cores"
                f"  load {usage.load_1m:5.2f}"
                f"  memory {used / GIB:6.2f} of {(used + free) / GIB:.2f} GiB"
                f"  disk {disk / GIB:6.1f} of {disk_total / GIB:.1f} GiB"
                f"  pods {len(usage.pods)}",
                flush=True,
            )


if __name__ == "__main__":
    run(main, __doc__)
