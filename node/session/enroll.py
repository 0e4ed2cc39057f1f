"""Run by the kubelet in a process of its own: renews its certificate, or joins anew by a token.

`python -m node.session.enroll --directory DIR --master URL --node NAME --machine-id ID
[--token-file FILE]`. What it needs of cryptography takes 10 MiB, for a second every few days.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from node.session import join
from node.session.renewal import AWAY, REFUSED

POLL_SECONDS = 0.2


def main() -> None:
    """Do it, or say in one line why not."""
    parser = argparse.ArgumentParser(prog="wherry-kubelet", allow_abbrev=False)
    for name in ("directory", "master", "node", "machine-id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--token-file", default="")
    arguments = parser.parse_args()
    machine = join.Machine(arguments.node, arguments.machine_id)
    directory, master, token_file = (
        Path(arguments.directory),
        arguments.master,
        arguments.token_file,
    )
    try:
        if token_file:
            join.join(directory, master, token_file, machine, _wait)
        else:
            join.renew(directory, master, machine, _wait)
    except join.JoinFailed as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(AWAY if isinstance(error, join.NotNow) else REFUSED) from None


def _wait() -> None:
    time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
