"""`wherry check master|node`: what of this machine is in the way, one line each."""

from __future__ import annotations

import argparse
from typing import Any

from common.preflight import probe, rules
from common.runtime.clock import SystemClock


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "check", help="whether this machine can be a master or a node", allow_abbrev=False
    )
    parser.set_defaults(local=True, run=run, server="")
    roles = parser.add_subparsers(dest="role", required=True)
    roles.add_parser("master", help="as a master", allow_abbrev=False)
    node = roles.add_parser("node", help="as a node", allow_abbrev=False)
    node.add_argument(
        "--server",
        type=_url,
        metavar="URL",
        help="the master to join, https://HOST:6443; default: the one of /etc/wherry/kubelet.yaml",
    )


def _url(text: str) -> str:
    if problem := rules.server_problem(text):
        raise argparse.ArgumentTypeError(problem)
    return text


def run(arguments: argparse.Namespace) -> None:
    """Print what is found; exit with 1 when something must be mended."""
    facts = probe.facts(arguments.role, arguments.server or "", SystemClock())
    findings = [*rules.check(arguments.role, facts), *rules.missing(facts)]
    for finding in findings:
        print(finding)
    if any(finding.is_grave for finding in findings):
        raise SystemExit(1)
    print(f"this machine can be a {arguments.role}")
