"""Patches on plain JSON values: JSON patch, merge patch, strategic merge patch.

Inputs are never changed. Every function raises StatusError in Kubernetes' words, and takes time in
proportion to the sizes of the object and of the patch.
"""

from __future__ import annotations

from common.api.patch.rfc6902 import (
    OPERATIONS_MAX,
    RESULT_MAX_BYTES,
    check_operations,
    json_patch,
)
from common.api.patch.rfc7386 import merge
from common.api.patch.strategicmerge import strategic

__all__ = [
    "OPERATIONS_MAX",
    "RESULT_MAX_BYTES",
    "check_operations",
    "json_patch",
    "merge",
    "strategic",
]
