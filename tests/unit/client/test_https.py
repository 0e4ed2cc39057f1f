"""The HTTPS client for a request now and then: what it does not take."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from common.client.https import ANSWER_MAX_BYTES, ConnectionFailed, HttpsClient, unverified_context


class FakeAnswer:
    """So many bytes."""

    status = 200

    def __init__(self, size: int) -> None:
        self._size = size

    def read(self, count: int) -> bytes:
        """At most `count` of them."""
        return bytes(min(count, self._size))


@pytest.mark.parametrize("more", [0, 1])
def test_an_answer_that_is_too_large_is_no_whole_one(
    monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    def nothing(*_: Any, **__: Any) -> None:
        pass

    answer = FakeAnswer(ANSWER_MAX_BYTES + more)
    monkeypatch.setattr(http.client.HTTPSConnection, "request", nothing)
    monkeypatch.setattr(http.client.HTTPSConnection, "getresponse", lambda _: answer)
    client = HttpsClient("https://127.0.0.1:1", unverified_context())
    if not more:
        assert len(client.request("GET", "/x")[1]) == ANSWER_MAX_BYTES
        return
    with pytest.raises(ConnectionFailed, match="/x: the answer has more than 8 MiB"):
        client.request("GET", "/x")
