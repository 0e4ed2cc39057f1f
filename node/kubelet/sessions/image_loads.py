"""Serves `wherry image push`: an archive of images comes from the master and goes into Podman."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from common.api import errors
from node.runtime.base import ImageLoadFailed, Runtime, RuntimeUnavailable
from node.session.channels import Channels
from protos import node_v1_pb2

NAMES_MAX = 500


class ImageLoads:
    """Takes images that come from no registry."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def serve(self, request: node_v1_pb2.LoadImageRequest, channels: Channels) -> int:
        """Load an archive, and send back the names of its images. Raises StatusError."""
        size = request.size_bytes
        try:
            names = await self._runtime.load_images(_pieces(channels, size), size)
        except ImageLoadFailed as error:
            raise errors.bad_request(f"no archive of images: {error}") from error
        except RuntimeUnavailable as error:
            raise errors.unavailable(f"the container runtime: {error}") from error
        await channels.send(msgspec.json.encode(names[:NAMES_MAX]))
        return 0


async def _pieces(channels: Channels, size_bytes: int) -> AsyncIterator[bytes]:
    """What comes of an archive; raises StatusError 400 when it is not as large as was said."""
    left = size_bytes
    while left:
        frame = await channels.receive()
        if frame is None or frame.close or len(frame.data) > left:
            raise errors.bad_request(f"the archive does not have {size_bytes} bytes")
        left -= len(frame.data)
        yield frame.data
