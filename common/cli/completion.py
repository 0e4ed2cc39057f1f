"""`wherry completion`: a script by which a shell completes the verbs and options of wherry."""

from __future__ import annotations

import argparse
from typing import Any

import shtab


def add_parser(verbs: Any, whole: argparse.ArgumentParser) -> None:
    """Add the verb; `whole` is the parser that is completed, this verb included."""
    parser = verbs.add_parser(
        "completion",
        help="print a script that completes wherry in your shell",
        description="Print a completion script: source <(wherry completion bash).",
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=("bash", "zsh"))
    parser.set_defaults(
        local=True, run=lambda arguments: print(shtab.complete(whole, arguments.shell))
    )
