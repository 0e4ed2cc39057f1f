"""`wherry ca rotate`: follow the cluster's authorities by new ones; no container restarts."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from common.client.https import HttpsClient, chosen
from common.runtime.clock import Clock
from common.runtime.rng import Rng

PATH = "/rotation"
LOOK_SECONDS = 1.0
SAYS = {
    "begin": "new authorities are made; nodes renew their certificates and trust both",
    "switch": "the master shows a certificate of the new authority",
    "finish": "the former authorities are not trusted any more",
}
LAST = "finish"


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("ca", help="the authorities of certificates", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    rotate = actions.add_parser(
        "rotate", help="replace them; goes on where it was interrupted", allow_abbrev=False
    )
    rotate.add_argument(
        "--timeout", type=int, default=60, help="seconds to wait before each step; default: 60"
    )
    rotate.add_argument(
        "--force", action="store_true", help="leave those behind who are not there in time"
    )
    rotate.set_defaults(run=run_rotate)
    status = actions.add_parser("status", help="what a rotation waits for", allow_abbrev=False)
    status.set_defaults(run=run_status)


def run_status(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """Print the next step and what it waits for."""
    state = _client(arguments).json("GET", PATH)
    print("no rotation is under way" if state["next"] == "begin" else f"next step: {state['next']}")
    for line in state["waitsFor"]:
        print(f"  waits for: {line}")


def run_rotate(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """Take all steps that are left, each when everybody is there."""
    done = ""
    while done != LAST:
        step = _wait(arguments)
        query = "?force=true" if arguments.force else ""
        _client(arguments).json("POST", f"{PATH}/{step}{query}")
        print(f"{step}: {SAYS[step]}", flush=True)
        done = step
    print("done; copies of admin.kubeconfig must be taken anew")


def _client(arguments: argparse.Namespace) -> HttpsClient:
    """With the file as it is now: the master writes it anew at each step."""
    return chosen(os.environ, arguments.kubeconfig).client()


def _wait(arguments: argparse.Namespace) -> str:
    """The next step, once it waits for nobody; raises SystemExit when that takes too long."""
    told: list[str] = []
    state = _client(arguments).json("GET", PATH)
    for _ in range(int(arguments.timeout / LOOK_SECONDS)):
        if not state["waitsFor"]:
            break
        if state["waitsFor"] != told:
            told = state["waitsFor"]
            print("\n".join(f"  waiting: {line}" for line in told), flush=True)
        time.sleep(LOOK_SECONDS)
        state = _client(arguments).json("GET", PATH)
    if state["waitsFor"] and not arguments.force:
        raise SystemExit(
            f"wherry: {'; '.join(state['waitsFor'])}: mend that and run this again, or leave them "
            "behind with --force (a node comes back by a new join token)"
        )
    return str(state["next"])
