"""`wherry token create|list|delete`: join tokens, kept as Secrets that hold only their hash."""

from __future__ import annotations

import argparse
import base64
import os
import re
from datetime import timedelta
from typing import Any

from common.api import times
from common.api.errors import StatusError
from common.client.https import KubeConfig, chosen
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from common.runtime.values import seconds_of
from common.security.ca import pin
from common.security.tokens import (
    NAME_PREFIX,
    NAMESPACE,
    SECRET_TYPE,
    USES,
    hash_bearer,
    new_token,
)

PATH = f"/api/v1/namespaces/{NAMESPACE}/secrets"


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("token", help="join tokens for new nodes", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser(
        "create", help="make a token and print it, once", allow_abbrev=False
    )
    create.add_argument(
        "--ttl", type=duration, default=timedelta(hours=1), help="how long it is valid; default: 1h"
    )
    create.add_argument(
        "--uses", type=uses, default=10, help="how many machines may join with it; default: 10"
    )
    create.set_defaults(run=run_create)
    actions.add_parser(
        "list", help="list tokens without their secrets", allow_abbrev=False
    ).set_defaults(run=run_list)
    delete = actions.add_parser("delete", help="revoke a token", allow_abbrev=False)
    delete.add_argument("id", help="the six characters before the dot")
    delete.set_defaults(run=run_delete)


def duration(text: str) -> timedelta:
    """`90s`, `30m`, `1h`, `2d`; raises ArgumentTypeError for anything else."""
    try:
        return timedelta(seconds=seconds_of(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def uses(text: str) -> int:
    """1 to 10000; raises ArgumentTypeError for anything else."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def _config(arguments: argparse.Namespace) -> KubeConfig:
    """The kubeconfig that is meant; raises ConnectionFailed."""
    return chosen(os.environ, arguments.kubeconfig)


def run_create(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """Make a token: the cluster keeps its hash, the printed line is the only copy."""
    config = _config(arguments)
    token = new_token(pin(config.ca_pem), rng)
    expires = times.to_time(clock.now() + arguments.ttl)
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": SECRET_TYPE,
        "metadata": {"name": NAME_PREFIX + token.id, "namespace": NAMESPACE},
        "data": {
            "hash": base64.b64encode(hash_bearer(token.bearer()).encode()).decode(),
            "expires": base64.b64encode(expires.encode()).decode(),
            USES: base64.b64encode(str(arguments.uses).encode()).decode(),
        },
    }
    config.client().json("POST", PATH, body)
    print(token.text())


def run_list(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """Print id, end of life and uses left of every token."""
    answer = _config(arguments).client().json("GET", f"{PATH}?fieldSelector=type%3D{SECRET_TYPE}")
    print(f"{'ID':<8}{'EXPIRES':<24}USES LEFT")
    for secret in answer["items"]:
        name = secret["metadata"]["name"].removeprefix(NAME_PREFIX)
        expires, left = (_text(secret, key) for key in ("expires", USES))
        late = " (expired)" if expires < times.to_time(clock.now()) else ""
        print(f"{name:<8}{expires:<24}{left or 'any'}{late}")


def _text(secret: dict[str, Any], key: str) -> str:
    return base64.b64decode(secret.get("data", {}).get(key, "")).decode("utf-8", "replace")


def run_delete(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """Revoke a token."""
    if not re.fullmatch(r"[a-z0-9]{6}", arguments.id):
        raise SystemExit("wherry: a token's id has six characters")
    try:
        _config(arguments).client().json("DELETE", f"{PATH}/{NAME_PREFIX}{arguments.id}")
    except StatusError as error:
        if error.code == 404:
            raise SystemExit(f"wherry: there is no token {arguments.id}") from error
        raise
    print(f"token {arguments.id} deleted")
