"""A second machine in the name of a connected node: the same one, rebooted, or a copy of it."""

from __future__ import annotations

from common.runtime.clock import Clock

REBOOT_SECONDS = 15.0
"""A machine that has booted is let in before that: by then its former boot is silent."""


class Duplicates:
    """The last boot of each node that was turned away."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, tuple[str, float]] = {}

    def persists(self, node: str, boot_id: str) -> bool:
        """Whether that boot has been turned away for so long that it must be a copy."""
        boot, since = self._since.get(node, ("", 0.0))
        if boot != boot_id:
            self._since[node] = (boot_id, self._clock.monotonic())
            return False
        return self._clock.monotonic() - since > REBOOT_SECONDS
