"""`wherry secret-key|account-key rotate|list`: the keys that seal Secrets in etcd, and those that
sign tokens of service accounts.

Files of the master's machine: there is no request for them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from common.runtime.rng import SystemRng

DIRECTORY = "/var/lib/wherry/master/pki"


class _Keys(NamedTuple):
    """What differs between the two."""

    help: str
    rotate_help: str
    file: str
    ids: Callable[[Path, bool], list[str]]
    """(the file, whether to rotate first) -> ids of the keys, the one in use first."""
    then: str
    """What to do after a rotation."""


def _secret_keys(file: Path, rotate: bool) -> list[str]:
    from common.security import keyring

    read = keyring.rotate if rotate else keyring.load_or_create
    return list(read(file, SystemRng()).keys)


def _account_keys(file: Path, rotate: bool) -> list[str]:
    from common.security import accountkeys

    made = (accountkeys.rotate if rotate else accountkeys.load_or_create)(file)
    return [accountkeys.key_id(key) for key in made.public]


_VERBS = {
    "secret-key": _Keys(
        "the keys that seal Secrets in etcd",
        "make a new key; the master seals all Secrets with it at its start",
        f"{DIRECTORY}/secret.keys",
        _secret_keys,
        "Restart wherry-master: it seals all Secrets with it and\n"
        "logs how many. After that the older lines of {file} may be removed.",
    ),
    "account-key": _Keys(
        "the keys of tokens of service accounts",
        "make a new key; the master signs with it from its next start",
        f"{DIRECTORY}/service-accounts.key",
        _account_keys,
        "Restart wherry-master: it signs with it, and takes\n"
        "tokens of before as long as their public keys stay in {file}.",
    ),
}


def add_parser(verbs: Any) -> None:
    """Add the arguments of both verbs."""
    for verb, keys in _VERBS.items():
        parser = verbs.add_parser(verb, help=keys.help)
        actions = parser.add_subparsers(dest="action", required=True)
        for name, run, text in (
            ("rotate", run_rotate, keys.rotate_help),
            ("list", run_list, "show the ids of the keys, the one in use first"),
        ):
            action = actions.add_parser(name, help=text)
            action.add_argument("--file", default=keys.file, help=f"default: {keys.file}")
            action.set_defaults(run=run, local=True)


def run_rotate(arguments: argparse.Namespace) -> None:
    """Put a new key in front of the file."""
    current, *_ = _ids(arguments, rotate=True)
    then = _VERBS[arguments.verb].then.format(file=arguments.file)
    print(f"{current} is the new key. {then}")


def run_list(arguments: argparse.Namespace) -> None:
    """Show ids, never keys."""
    for number, name in enumerate(_ids(arguments, rotate=False)):
        print(f"{name}  {'' if number else 'in use'}".rstrip())


def _ids(arguments: argparse.Namespace, *, rotate: bool) -> list[str]:
    from common.security.ca import CertificateError
    from common.security.keyring import KeyringError

    file = Path(arguments.file)
    if not file.exists():
        raise SystemExit(f"wherry: there is no file {file}: run this on the master's machine")
    try:
        return _VERBS[arguments.verb].ids(file, rotate)
    except (OSError, KeyringError, CertificateError) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise SystemExit(f"wherry: {file} cannot be used: {text}") from error
