"""Admission: steps that may look at other objects than the written one before it is stored.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from master.apiserver.request.context import Context
from master.apiserver.request.target import Target

Admit = Callable[[Context, Target, Any, Any], Awaitable[None]]
"""An admission step: (context, target, new object, old or None); raises StatusError to refuse.

Mutating steps are asked about objects and their status, validating ones also about what another
subresource changes of an object: the target tells. `old` is None on create.
"""


@dataclass(frozen=True)
class Admission:
    """Kubernetes' two phases; each step sees what those before it have made of the object."""

    mutating: Sequence[Admit] = ()
    """Asked with what the writer sent, defaults filled in; these may change it."""
    validating: Sequence[Admit] = ()
    """Asked with what would be stored."""

    async def mutate(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Let every mutating step change the new object."""
        for step in self.mutating:
            await step(ctx, target, new, old)

    async def validate(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Ask every validating step."""
        for step in self.validating:
            await step(ctx, target, new, old)
