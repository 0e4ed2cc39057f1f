"""`wherry kubeconfig create|list|revoke`: access for a person or a program, and its end."""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from common.api import names, times
from common.api.errors import StatusError
from common.api.wellknown import MASTERS
from common.cli.credentials.token import duration
from common.client.https import ConnectionFailed, HttpsClient, chosen
from common.client.kubeconfig import Cluster, kubeconfig
from common.runtime.clock import Clock
from common.runtime.reasons import reason
from common.runtime.rng import Rng
from common.security.csr import make_key, make_request
from common.security.files import write_private
from common.security.keypair import KeyPair
from common.security.kubeconfigs import (
    EXPIRES,
    GROUPS,
    NAME_MAX,
    NAME_PREFIX,
    NAMESPACE,
    REQUEST,
    SECRET_TYPE,
    SIGNER,
)
from common.security.validity import validity

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
LEAST = timedelta(minutes=10)
POLLS, POLL_SECONDS = 50, 0.1


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "kubeconfig", help="access for people and programs", allow_abbrev=False
    )
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make one and print it, once", allow_abbrev=False)
    create.add_argument("name", type=user_name, help="of the person or program")
    create.add_argument(
        "--lifetime",
        type=lifetime,
        default=timedelta(days=90),
        help="how long it is valid; default: 90d",
    )
    create.add_argument(
        "--group",
        action="append",
        help=f"what it may do is decided by its groups; default: {MASTERS}, everything",
    )
    create.add_argument("-o", "--output", default="", help="write it to a file, 0600")
    create.set_defaults(run=run_create)
    listing = actions.add_parser("list", help="list those that count", allow_abbrev=False)
    listing.set_defaults(run=run_list)
    revoke = actions.add_parser(
        "revoke", help="end one: its calls end within seconds", allow_abbrev=False
    )
    revoke.add_argument("name", type=user_name)
    revoke.set_defaults(run=run_revoke)


def user_name(text: str) -> str:
    """A name that is fit for a user and a Secret; raises ArgumentTypeError for another one."""
    if names.dns_subdomain(text) or len(text) > NAME_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a lower case name of at most {NAME_MAX} characters"
        )
    return text


def lifetime(text: str) -> timedelta:
    """A duration of ten minutes or more; raises ArgumentTypeError for another one."""
    span = duration(text)
    if span < LEAST:
        raise argparse.ArgumentTypeError(f"{text!r} is less than ten minutes")
    return span


def run_create(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """Make one: its key never leaves this machine but in the file."""
    config = chosen(os.environ, arguments.kubeconfig)
    key = make_key()
    groups = tuple(arguments.group or (MASTERS,))
    request = make_request(key, arguments.name, groups)
    client = config.client()
    asked = client.json("POST", REQUESTS, _body(request, arguments.name, arguments.lifetime))
    try:
        certificate = _signed(client, asked["metadata"]["name"])
        cluster = Cluster(config.server, config.ca_pem, config.extensions)
        text = kubeconfig(cluster, arguments.name, KeyPair(certificate, key))
        _hand_out(text, arguments.output)
    except BaseException:  # Ctrl-C, too: nobody has it, so that it must not count
        _take_back(client, asked["metadata"], arguments.name)
        raise
    if arguments.output:
        until = times.to_time(validity(certificate).expires)
        print(f"kubeconfig {arguments.name} in {arguments.output}, valid until {until}")


def _hand_out(text: bytes, output: str) -> None:
    """Write it to a file, or print it; raises SystemExit."""
    if not output:
        sys.stdout.write(text.decode())
        sys.stdout.flush()
        return
    try:
        write_private(Path(output).absolute(), text)
    except OSError as error:
        why = f"cannot write {output}: {reason(error)}"
        raise SystemExit(f"wherry: {why}; the kubeconfig was revoked again") from error


def _take_back(client: HttpsClient, asked: dict[str, Any], name: str) -> None:
    """Withdraw a request, and revoke what was recorded for it: that, and no kubeconfig of before
    that has the same name."""
    record = f"{SECRETS}/{NAME_PREFIX}{name}"
    try:
        with contextlib.suppress(StatusError):  # there is none, or none any more
            client.json("DELETE", f"{REQUESTS}/{asked['name']}")
        time.sleep(POLL_SECONDS)  # whoever was about to record it has done so
        with contextlib.suppress(StatusError):
            meta = client.json("GET", record)["metadata"]
            if meta.get("annotations", {}).get(REQUEST) == asked["uid"]:
                client.json("DELETE", record, {"preconditions": {"uid": meta["uid"]}})
    except ConnectionFailed as error:
        sys.stderr.write(f"wherry: {error}: wherry kubeconfig revoke {name}\n")


def _body(request: bytes, name: str, life: timedelta) -> dict[str, Any]:
    """A CertificateSigningRequest."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": f"kubeconfig-{name}-"},
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": SIGNER,
            "usages": ["client auth"],
            "expirationSeconds": int(life.total_seconds()),
        },
    }


def _signed(client: HttpsClient, name: str) -> bytes:
    """The certificate for a request; raises SystemExit with the reason when there is none."""
    for _ in range(POLLS):
        status = client.json("GET", f"{REQUESTS}/{name}").get("status", {})
        if status.get("certificate"):
            return base64.b64decode(status["certificate"])
        for condition in status.get("conditions", ()):
            if condition["type"] in ("Denied", "Failed"):
                raise SystemExit(f"wherry: {condition.get('message')}")
        time.sleep(POLL_SECONDS)
    raise SystemExit(
        f"wherry: the master has not signed {name}: does its controller kubeconfigs run?"
    )


def run_list(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """Print user, end of life and groups of each."""
    client = chosen(os.environ, arguments.kubeconfig).client()
    answer = client.json("GET", f"{SECRETS}?fieldSelector=type%3D{SECRET_TYPE}")
    print(f"{'NAME':<24}{'EXPIRES':<24}GROUPS")
    for secret in answer["items"]:
        name = secret["metadata"]["name"].removeprefix(NAME_PREFIX)
        expires = text_of(secret, EXPIRES)
        late = " (expired)" if expires < times.to_time(clock.now()) else ""
        print(f"{name:<24}{expires:<24}{text_of(secret, GROUPS)}{late}")


def text_of(secret: dict[str, Any], key: str) -> str:
    """A value of a Secret's data."""
    return base64.b64decode(secret.get("data", {}).get(key, "")).decode("utf-8", "replace")


def run_revoke(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """End one."""
    try:
        client = chosen(os.environ, arguments.kubeconfig).client()
        client.json("DELETE", f"{SECRETS}/{NAME_PREFIX}{arguments.name}")
    except StatusError as error:
        if error.code == 404:
            raise SystemExit(f"wherry: there is no kubeconfig {arguments.name}") from error
        raise
    print(f"kubeconfig {arguments.name} revoked")
