"""What is set aside for resized pods, on disk: it outlives a kubelet, and its pod by nothing.

One file in the pod's directory, written before it counts. Blocking: use an Offload.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from common.api.codec import json as codec
from common.api.types.core_v1 import ResourceRequirements
from common.security.files import write_private

log = logging.getLogger(__name__)
FILE = "allocation.json"


def save(directory: Path, resources: Mapping[str, ResourceRequirements]) -> None:
    """Keep the CPU and memory of each container of a pod. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    write_private(directory / FILE, codec.encode(dict(resources)))


def load(directory: Path) -> dict[str, ResourceRequirements] | None:
    """What was kept; None for a pod that was never resized. One that cannot be read counts so."""
    try:
        data = (directory / FILE).read_bytes()
        return msgspec.json.decode(data, type=dict[str, ResourceRequirements])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("unreadable allocation", extra={"object": directory.name, "error": error})
        return None
