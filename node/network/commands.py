"""Programs of the machine that change its network: ip and nft."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from common.runtime.reasons import reason
from node.runtime.base import SandboxFailed

COMMAND_SECONDS = 10.0
ERROR_MAX = 2000
_FAILED_LINE = re.compile(r"Command failed -:(\d+)")


def run(command: Sequence[str], text: str = "", lines: Sequence[str] = ()) -> str:
    """What a program prints. Raises SandboxFailed in its words, with those of `lines` that ip says
    have failed."""
    try:
        ended = subprocess.run(
            command,
            input=text.encode(),
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxFailed(f"{command[0]}: {reason(error)}") from error
    if ended.returncode:
        said = ended.stderr.decode("utf-8", "replace").strip()
        named = _FAILED_LINE.sub(lambda found: f"({lines[int(found[1]) - 1]})", said)
        raise SandboxFailed(f"{command[0]}: {' '.join(named.split())[:ERROR_MAX]}")
    return ended.stdout.decode()


def load_table(table: str, script: str, loaded: str) -> str:
    """Load the nftables script that makes a table of ours, unless it is loaded and the table is
    there: an admin may have flushed everything. Answers what is loaded now."""
    if script != loaded or f"table {table}" not in run(["nft", "list", "tables"]).splitlines():
        run(["nft", "-f", "-"], script)
    return script
