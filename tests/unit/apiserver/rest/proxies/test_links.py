"""Links of HTML pages: which are rewritten, and that nothing else of a page changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.apiserver.rest.proxies.links import TAG_MAX_BYTES, LinkRewriter


def marked(link: str) -> str:
    """Absolute paths get a prefix."""
    return f"/P{link}" if link.startswith("/") else link


def rewritten(*pieces: bytes) -> bytes:
    rewriter = LinkRewriter(marked)
    return b"".join(map(rewriter.feed, pieces)) + rewriter.end()


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b'<a href="/x">t</a>', b'<a href="/P/x">t</a>'),
        (b"<A HREF='/x' class=/y>", b'<A HREF="/P/x" class=/y>'),
        (b"<img alt='>' src=/x.png>", b"<img alt='>' src=\"/P/x.png\">"),
        (b'<a href="/x?a=1&amp;b=2">', b'<a href="/P/x?a=1&amp;b=2">'),
        (
            b'<form action="/x"><button formaction="/y">',
            b'<form action="/P/x"><button formaction="/P/y">',
        ),
        (b'<a href="x" title="/y">', b'<a href="x" title="/y">'),
        (b'<a data-href="/x">', b'<a data-href="/x">'),
        (b'<!-- <a href="/x"> --><a href="/x">', b'<!-- <a href="/x"> --><a href="/P/x">'),
        (
            b'<script src="/x">"<a href=\'/y\'>"</SCRIPT><a href="/z">',
            b'<script src="/P/x">"<a href=\'/y\'>"</SCRIPT><a href="/P/z">',
        ),
        (b"1 < 2 <3 </a href='/x'> <", b"1 < 2 <3 </a href='/x'> <"),
        (b'<a href="/x', b'<a href="/x'),
        (b'<a href="/\xff">', b'<a href="/P/\xff">'),
    ],
)
def test_links(page: bytes, expected: bytes) -> None:
    assert rewritten(page) == expected
    assert rewritten(*(page[i : i + 1] for i in range(len(page)))) == expected


@given(
    st.lists(
        st.sampled_from(
            [b"<", b">", b"a ", b"href=", b"'", b'"', b"<!--", b"-->", b"script", b"/x", b"</"]
        )
    )
)
def test_the_pieces_of_a_page_do_not_matter(parts: list[bytes]) -> None:
    assert rewritten(*parts) == rewritten(b"".join(parts))


@given(st.binary())
def test_a_page_without_links_stays_as_it_is(page: bytes) -> None:
    rewriter = LinkRewriter(lambda link: link)
    assert rewriter.feed(page) + rewriter.end() == page


def test_a_tag_without_end_is_not_held_back_for_ever() -> None:
    rewriter = LinkRewriter(marked)
    passed = sum(len(rewriter.feed(b"<a " + b"x" * 999)) for _ in range(100))
    assert 100_000 - passed <= TAG_MAX_BYTES + 1002
