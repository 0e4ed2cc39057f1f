"""Heads of requests that are passed on and of their answers; where links lead."""

from __future__ import annotations

import h11
import pytest

from common.api.errors import StatusError
from master.apiserver.rest.proxies import heads
from master.apiserver.rest.proxies.heads import Asked, RawHeaders

PREFIX = "/api/v1/namespaces/a/pods/web/proxy"
HOST = "10.42.0.5:8080"


def asked(*headers: tuple[bytes, bytes], method: str = "GET", target: str = "/") -> Asked:
    return Asked(method, PREFIX, target, ((b"Host", b"master:6443"), *headers), "192.0.2.7")


def passed(*headers: tuple[bytes, bytes], target: str = "/") -> dict[bytes, bytes]:
    """What the program gets, by name; no name comes twice."""
    made = heads.request_head(asked(*headers, target=target), HOST).headers
    assert len(dict(made)) == len(made)
    return dict(made)


def test_what_a_program_is_told() -> None:
    assert passed((b"Accept", b"text/html"), (b"Cookie", b"a=1"), target="/x//y/?q") == {
        b"host": b"master:6443",
        b"accept": b"text/html",
        b"cookie": b"a=1",
        b"x-forwarded-for": b"192.0.2.7",
        b"x-forwarded-uri": PREFIX.encode() + b"/x//y/",
        b"connection": b"close",
    }


@pytest.mark.parametrize(
    "header",
    [
        (b"Authorization", b"Bearer secret"),
        (b"authorization", b"Basic secret"),
        (b"Impersonate-User", b"secret"),
        (b"impersonate-group", b"secret"),
        (b"Impersonate-Extra-secret", b"secret"),
        (b"Proxy-Authorization", b"secret"),
        (b"Sec-WebSocket-Protocol", b"base64url.bearer.authorization.k8s.io.secret"),
    ],
)
def test_no_credentials_are_passed_on(header: tuple[bytes, bytes]) -> None:
    assert passed(header) == passed()


def test_other_protocols_are_offered_without_the_token() -> None:
    offered = b"chat, base64url.bearer.authorization.k8s.io.secret, v2"
    assert passed((b"Sec-WebSocket-Protocol", offered))[b"sec-websocket-protocol"] == b"chat, v2"


def test_what_is_about_the_connection_is_not_passed_on() -> None:
    headers: RawHeaders = [
        (b"Connection", b"keep-alive, X-Own"),
        (b"X-Own", b"a"),
        (b"Keep-Alive", b"5"),
        (b"TE", b"trailers"),
        (b"Trailer", b"X"),
        (b"Expect", b"100-continue"),
    ]
    assert passed(*headers) == passed()


def test_who_has_asked_is_added_to_those_before() -> None:
    headers = ((b"X-Forwarded-For", b"198.51.100.1"), (b"X-Forwarded-Uri", b"/forged"))
    told = passed(*headers)
    assert told[b"x-forwarded-for"] == b"198.51.100.1, 192.0.2.7"
    assert told[b"x-forwarded-uri"] == PREFIX.encode() + b"/"


def test_an_upgrade_is_asked_for() -> None:
    told = passed((b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"websocket"))
    assert (told[b"connection"], told[b"upgrade"]) == (b"Upgrade", b"websocket")


@pytest.mark.parametrize(
    "target", ["/a%2Fb//c/../d;e?q=%20a&q&a+b", "//", "/?", "/%zz", "/a?b?c#d"]
)
def test_path_and_query_stay_as_they_are(target: str) -> None:
    made = heads.request_head(asked(target=target), HOST)
    assert made.target == target.encode()


def test_what_cannot_stand_in_a_request_is_refused() -> None:
    with pytest.raises(StatusError) as raised:
        heads.request_head(asked(target="/a\u00e9"), HOST)
    assert raised.value.code == 400


def replied(*headers: tuple[bytes, bytes]) -> heads.Replied:
    response = h11.Response(status_code=200, reason=b"OK", headers=list(headers))
    return heads.reply_head(response, asked(), HOST)


def test_what_a_client_is_told() -> None:
    told = replied(
        (b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"Connection", b"X-Own"),
        (b"X-Own", b"a"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Transfer-Encoding", b"chunked"),
    )
    assert told.headers == [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]
    assert not told.is_page


@pytest.mark.parametrize(
    ("headers", "is_page"),
    [
        ([(b"Content-Type", b"text/html")], True),
        ([(b"Content-Type", b"text/html; charset=utf-8")], True),
        ([(b"Content-Type", b"text/plain")], False),
        ([(b"Content-Type", b"text/html"), (b"Content-Encoding", b"gzip")], False),
        ([], False),
    ],
)
def test_a_page_has_another_length_than_the_program_says(
    headers: list[tuple[bytes, bytes]], is_page: bool
) -> None:
    told = replied(*headers, (b"Content-Length", b"5"))
    assert told.is_page == is_page
    assert (("Content-Length", "5") in told.headers) != is_page


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("/x", f"{PREFIX}/x"),
        ("/", f"{PREFIX}/"),
        ("/x/?a=/b#c", f"{PREFIX}/x/?a=/b#c"),
        (f"http://{HOST}/x", f"{PREFIX}/x"),
        (f"//{HOST}/x", f"{PREFIX}/x"),
        ("http://localhost:8001/x", f"http://localhost:8001{PREFIX}/x"),
        (f"{PREFIX}/x", f"{PREFIX}/x"),
        (f"{PREFIX}x", f"{PREFIX}{PREFIX}x"),
        ("x/y", "x/y"),
        ("?a", "?a"),
        ("#top", "#top"),
        ("", ""),
        ("https://example.com/x", "https://example.com/x"),
        ("mailto:a@example.com", "mailto:a@example.com"),
        ("http://[::1/x", "http://[::1/x"),
    ],
)
def test_where_links_lead(link: str, expected: str) -> None:
    assert heads.relocated(link, PREFIX, [HOST, "localhost:8001"]) == expected
