"""wherry: what an operator needs beside kubectl. One file a verb; this one parses and reports."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from common.client.https import ADMIN_KUBECONFIG
from common.client.script import guarded
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng

FILES = {
    "account-key": "credentials.keys",
    "apply": "apply",
    "ca": "credentials.ca",
    "certs": "credentials.certs",
    "check": "check",
    "attach": "pods.exec",
    "cordon": "drain",
    "cp": "pods.cp",
    "delete": "delete",
    "drain": "drain",
    "exec": "pods.exec",
    "export": "pods.export",
    "get": "get",
    "image": "image",
    "kubeconfig": "credentials.kubeconfig",
    "log-level": "loglevel",
    "logs": "pods.logs",
    "node": "node",
    "port-forward": "pods.portforward",
    "proxy": "proxy",
    "secret-key": "credentials.keys",
    "token": "credentials.token",
    "uncordon": "drain",
    "version": "versions",
}
"""The file of each verb. Only that of the one that is asked for is loaded: each second counts."""


def main() -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(
        prog="wherry", description="Operate a Wherry cluster.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show it and exit")
    parser.add_argument(
        "--kubeconfig",
        default="",
        help=f"default: $KUBECONFIG, then {ADMIN_KUBECONFIG}",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    parser.set_defaults(local=False)
    wanted = FILES.get(verb_in(sys.argv[1:]), "")
    for file in (wanted,) if wanted else dict.fromkeys(FILES.values()):
        import_module(f"common.cli.{file}").add_parser(verbs)
    if not wanted:
        from common.cli import completion

        completion.add_parser(verbs, parser)
    arguments = parser.parse_args()
    if arguments.local:
        guarded(lambda: arguments.run(arguments), "wherry: ")
    else:
        clock, rng = SystemClock(), SystemRng()
        guarded(lambda: arguments.run(arguments, clock=clock, rng=rng), "wherry: ")


def verb_in(words: Sequence[str]) -> str:
    """The verb of a command line; '' when there is none."""
    coming = iter(words)
    for word in coming:
        if word == "--kubeconfig":
            next(coming, None)
        elif not word.startswith("-"):
            return word
    return ""


class _Version(argparse.Action):
    """Reads the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"wherry {version('wherry')}")
        parser.exit()
