"""How a service gives up: one line that says why, and a code that says whether to try again."""

from __future__ import annotations

import sys
from typing import NoReturn

from common.systemd import journal

CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: nothing will change until a person does something. The units name it in
RestartPreventExitStatus=, so that a typing mistake is not tried again for ever.
"""
FAILURE = 1


def give_up(program: str, why: object, code: int = FAILURE) -> NoReturn:
    """End the process."""
    prefix = "<3>" if journal.is_stderr() else ""
    sys.stderr.write(f"{prefix}{program}: {why}\n")
    sys.exit(code)
