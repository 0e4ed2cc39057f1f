"""Warning headers."""

from __future__ import annotations

from aiohttp import web

from common.api.scheme import SCHEME
from master.apiserver.rest import warnings


def test_a_deprecated_kind_says_since_when_and_what_to_use() -> None:
    endpoints, pods = SCHEME.find("endpoints"), SCHEME.find("pods")
    assert endpoints is not None
    assert pods is not None
    assert warnings.deprecation(endpoints) == [
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    ]
    assert warnings.deprecation(pods) == []


def test_each_text_is_a_header_that_nothing_in_it_can_end() -> None:
    response = web.Response()
    warnings.add(response, ["plain", 'a "quoted" \\ word\r\nSet-Cookie: x', "y" * 5000])
    first, second, third = response.headers.getall("Warning")
    assert first == '299 - "plain"'
    assert second == '299 - "a \\"quoted\\" \\\\ word??Set-Cookie: x"'
    assert third == f'299 - "{"y" * 1024}"'
