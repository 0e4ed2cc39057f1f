"""Applies the objects of a YAML file and shows how far they are until all are ready: FILE."""

import asyncio
import sys
from pathlib import Path

from common.api.codec import yaml
from common.api.errors import StatusError
from common.client import connect
from common.client.apply import apply, follow


async def main(text: bytes) -> None:
    """Exits with 1 when something will never be ready."""
    async with connect() as client:
        applied = []
        for manifest in yaml.decode_all(text):
            what, stored = await apply(client, manifest)
            print(f"{stored['kind']} {stored['metadata']['name']}: {what}", flush=True)
            applied.append(stored)
        for number, stored in enumerate(applied, start=1):
            async for progress in follow(client, stored):
                print(f"[{number}/{len(applied)}] {progress.text}", flush=True)
                if progress.failed:
                    sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        asyncio.run(main(Path(sys.argv[1]).read_bytes()))
    except (StatusError, OSError) as error:
        sys.exit(str(error))
