"""`wherry log-level COMPONENT LEVEL`: how much a service on this machine logs for now."""

from __future__ import annotations

import argparse
import subprocess
from typing import Any

from common.systemd.levels import SIGNALS

COMPONENTS = ("master", "kubelet", "kube-proxy")
TIMEOUT_SECONDS = 10.0


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "log-level", help="how much a service on this machine logs", allow_abbrev=False
    )
    parser.set_defaults(local=True, run=run)
    parser.add_argument("component", choices=COMPONENTS)
    parser.add_argument("level", choices=tuple(SIGNALS))


def run(arguments: argparse.Namespace) -> None:
    """Tell the service; only root may."""
    unit = f"wherry-{arguments.component}.service"
    number = SIGNALS[arguments.level]
    command = ["systemctl", "kill", "--kill-whom=main", f"--signal={number:d}", unit]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemExit(f"wherry: systemd cannot be asked: {error}") from error
    if done.returncode:
        why = done.stderr.strip() or f"systemctl ended with {done.returncode}"
        raise SystemExit(f"wherry: {unit} was not told: {why}")
    print(f"{unit} logs {arguments.level} and above until it restarts")
