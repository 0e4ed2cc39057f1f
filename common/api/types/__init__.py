"""Structs generated from protos/, one module a group and version, and the types they share.

Attribute names are the JSON names, sequences are tuples, unset pointers are None. Nothing here but
this file and `always` is hand-written.
"""

from typing import Annotated, NewType

import msgspec

Time = NewType("Time", str)
"""RFC 3339 in UTC, to the second: `2026-01-02T03:04:05Z`."""

MicroTime = NewType("MicroTime", str)
"""RFC 3339 in UTC with six decimals."""

Quantity = NewType("Quantity", str)
"""A number with a suffix, such as `250m` or `64Mi`; common.api.quantity computes with it."""

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
