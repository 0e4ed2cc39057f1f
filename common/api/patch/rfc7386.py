"""JSON merge patch. Source: RFC 7386."""

from __future__ import annotations

from typing import Any

from common.api import errors


def merge(target: Any, patch: Any) -> Any:
    """Members replace, null removes."""
    try:
        return _merged(target, patch)
    except RecursionError as error:
        raise errors.too_deep() from error


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
