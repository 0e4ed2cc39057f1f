"""Applies the objects of a YAML file and shows how far they are until all are ready: FILE."""

import sys
from pathlib import Path
from typing import Any

from common.api.codec import yaml
from common.client import connect
from common.client.apply import apply, follow
from common.client.script import run


async def main(file: str) -> None:
    """Exits with 1 when something will never be ready."""
    async with connect() as client:
        applied = []
        for manifest in manifests(Path(file)):
            what, stored = await apply(client, manifest)
            print(f"{stored['kind']} {stored['metadata']['name']}: {what}", flush=True)
            applied.append(stored)
        for number, stored in enumerate(applied, start=1):
            async for progress in follow(client, stored):
                print(f"[{number}/{len(applied)}] {progress.text}", flush=True)
                if progress.failed:
                    sys.exit(1)


def manifests(file: Path) -> list[Any]:
    """The objects of a file of one or more YAML documents."""
    return yaml.decode_all(file.read_bytes())


if __name__ == "__main__":
    run(main, __doc__)
