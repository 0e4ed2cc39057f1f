"""`wherry secret-key rotate|list`: the keys by which Secrets are sealed in etcd.

A file of the master's machine: there is no request for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from common.runtime.rng import SystemRng

FILE = "/var/lib/wherry/master/pki/secret.keys"


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("secret-key", help="the keys that seal Secrets in etcd")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, run, text in (
        ("rotate", run_rotate, "make a new key; the master seals all Secrets with it at its start"),
        ("list", run_list, "show the ids of the keys, the one in use first"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--file", default=FILE, help=f"default: {FILE}")
        action.set_defaults(run=run, local=True)


def run_rotate(arguments: argparse.Namespace) -> None:
    """Put a new key in front of the file."""
    from common.security import keyring

    file = _file(arguments)
    made = _checked(keyring.rotate, file)
    print(f"{made.current} is the new key. Restart wherry-master: it seals all Secrets with it and")
    print(f"logs how many. After that the older lines of {file} may be removed.")


def run_list(arguments: argparse.Namespace) -> None:
    """Show ids, never keys."""
    from common.security import keyring

    made = _checked(keyring.load_or_create, _file(arguments))
    for number, name in enumerate(made.keys):
        print(f"{name}  {'' if number else 'in use'}".rstrip())


def _file(arguments: argparse.Namespace) -> Path:
    file = Path(arguments.file)
    if not file.exists():
        raise SystemExit(f"wherry: there is no file {file}: run this on the master's machine")
    return file


def _checked(read: Any, file: Path) -> Any:
    from common.security.keyring import KeyringError

    try:
        return read(file, SystemRng())
    except (OSError, KeyringError) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise SystemExit(f"wherry: {file} cannot be used: {text}") from error
