"""What a dataplane is: it holds a service's rules, and says when somebody else changed them."""

from __future__ import annotations

from typing import Protocol

from node.kubeproxy.plan import Changes


class DataplaneError(Exception):
    """The kernel refused a change, as a whole; what was there before is there still."""


class Dataplane(Protocol):
    """Carries out what services need. One caller at a time."""

    async def reload(self, changes: Changes) -> None:
        """Make everything anew in one step, with `changes` on top of what was applied before.

        Rules of a former process are replaced; nothing but our own table is touched. Raises
        DataplaneError.
        """
        ...

    async def apply(self, changes: Changes) -> None:
        """Change some services in one step. Raises DataplaneError."""
        ...

    async def is_intact(self) -> bool:
        """Whether nobody else has changed rules since the last change of ours."""
        ...
