"""Join tokens: Secrets in kube-system that hold the hash of a token and when it expires."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from common.api import times
from common.api.codec import json as codec
from common.runtime.clock import Clock
from common.security.tokens import (
    NAME_PREFIX,
    NAMESPACE,
    SECRET_TYPE,
    InvalidToken,
    bearer_id,
    verify_bearer,
)
from master.storage.watchcache import WatchCache


class JoinTokens:
    """Checks what joining nodes present; made and deleted as Secrets by `wherry token`."""

    def __init__(self, cache: WatchCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    def check(self, bearer: str) -> str | None:
        """The id of a token that is valid now, else None; compares in constant time."""
        try:
            token_id = bearer_id(bearer)
        except InvalidToken:
            return None
        entry = self._cache.find("secrets", NAME_PREFIX + token_id, NAMESPACE)
        plain: dict[str, Any] = codec.decode_plain(entry.data) if entry is not None else {}
        data = plain.get("data", {})
        correct = verify_bearer(bearer, _text(data.get("hash", "")))
        if plain.get("type") != SECRET_TYPE or not correct:
            return None
        try:
            expires = times.parse(_text(data.get("expires", "")))
        except times.InvalidTime:
            return None
        return token_id if self._clock.now() < expires else None


def _text(encoded: str) -> str:
    """A value of a Secret's data as text; empty when it is not base64."""
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return ""
