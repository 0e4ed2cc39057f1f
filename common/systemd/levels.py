"""How much a process logs, changed while it runs: `wherry log-level` sends it a signal.

The signals for debug and info are those of systemd's own services (systemd(1), SIGRTMIN+22 and 23).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial

log = logging.getLogger(__name__)
OURS = ("common", "master", "node", "kubeproxy")
"""Loggers of this program: libraries might tell more than anybody should read."""
SIGNALS = {
    "debug": signal.SIGRTMIN + 22,
    "info": signal.SIGRTMIN + 23,
    "warning": signal.SIGRTMIN + 24,
}


def follow_signals() -> None:
    """Change the level when a signal says so; needs a running loop in the main thread."""
    loop = asyncio.get_running_loop()
    for level, number in SIGNALS.items():
        loop.add_signal_handler(number, partial(change, level))


def change(level: str) -> None:
    """From now on, log what has at least this level: debug, info or warning."""
    log.warning("the log level was changed", extra={"to": level})
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
