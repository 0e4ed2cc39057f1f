"""Archives of images, as `podman save` writes them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator


def image_archive(name: str, *, padding: int = 0) -> bytes:
    """A docker-archive with one image of one file; `padding` makes it so much larger."""
    layer = _tar({"hello": b"hello\n", "padding": bytes(padding)})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    encoded = json.dumps(config).encode()
    file = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [{"Config": file, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]
    return _tar(
        {"manifest.json": json.dumps(manifest).encode(), file: encoded, f"{digest}.tar": layer}
    )


def _tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


async def pieces(data: bytes, size: int = 64 << 10) -> AsyncIterator[bytes]:
    """Data in pieces, as they come from the master."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
