"""Hooks of schemathesis, which loads them when tests/fuzz/openapi.py runs it.

No watch and no log that is followed is asked for, since they do not end; and half of the requests
are about a name that others are about, too: random ones never meet. How many answers had which
status is written to the file that STATUSES names.
"""

from __future__ import annotations

import atexit
import json
import os
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis

STATUSES = "WHERRY_FUZZ_STATUSES"
NAME, NAMESPACE = "fuzz", "default"
ENDLESS = frozenset({"watch", "follow", "sendInitialEvents"})
_statuses: Counter[int] = Counter()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Change a request before it is sent; the same one is always changed alike."""
    query = case.query or {}
    for name in ENDLESS & query.keys():
        del query[name]
    if not isinstance(case.path_parameters, dict) or _odd(str(case.path_parameters)):
        return
    known = {"namespace": NAMESPACE, "name": NAME}
    case.path_parameters |= {k: v for k, v in known.items() if k in case.path_parameters}
    if isinstance(case.body, dict) and isinstance(case.body.get("metadata"), dict):
        case.body["metadata"] |= {"name": NAME, "namespace": NAMESPACE}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answer."""
    _statuses[response.status_code] += 1


def _odd(text: str) -> bool:
    return bool(zlib.crc32(text.encode("utf-8", "replace")) % 2)


atexit.register(lambda: Path(os.environ[STATUSES]).write_text(json.dumps(_statuses)))
