"""The links of an HTML page, rewritten while the page passes; all else stays as it is. Pure.

Kubernetes does it to pages that know nothing of the proxy they are read through. Nothing is done to
links in scripts and style sheets.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

TAG_MAX_BYTES = 16 << 10
"""A longer tag passes as it is: so much of a page is held back at most."""
_OPENING = re.compile(rb"<[A-Za-z]")
_QUOTE_OR_END = re.compile(rb"[>\"']")
_NAME = re.compile(rb"<([A-Za-z][^\s/>]*)")
_ATTRIBUTE = re.compile(
    rb"""(?<=[\s"'/])([^\s"'<>/=]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'=<>`]+)""", re.DOTALL
)
_WITH_LINKS = frozenset(
    (
        b"action",
        b"background",
        b"cite",
        b"classid",
        b"codebase",
        b"data",
        b"formaction",
        b"href",
        b"icon",
        b"longdesc",
        b"manifest",
        b"poster",
        b"profile",
        b"src",
        b"usemap",
    )
)
_UNREAD = {
    name: re.compile(rb"</%s" % name, re.IGNORECASE)
    for name in (b"script", b"style", b"textarea", b"title")
}
"""Elements in which what looks like a tag is none, and what ends them."""
_COMMENT, _COMMENT_END = b"<!--", re.compile(b"-->")
_END_MAX_BYTES = len(b"</textarea")


class LinkRewriter:
    """A page in pieces of any size."""

    def __init__(self, rewrite: Callable[[str], str]) -> None:
        """`rewrite` gets each link and answers what it is to be."""
        self._rewrite = rewrite
        self._held = b""
        self._until: re.Pattern[bytes] | None = None
        """What ends the part in which there are no tags."""

    def feed(self, data: bytes) -> bytes:
        """What of the page can go on now."""
        held = self._held + data
        settled: list[bytes] = []
        position = 0
        while (end := self._step(held, position, settled)) > position:
            position = end
        self._held = held[position:]
        return b"".join(settled)

    def end(self) -> bytes:
        """The rest of the page."""
        rest, self._held = self._held, b""
        return rest

    def _step(self, page: bytes, start: int, settled: list[bytes]) -> int:
        """Settle the next part of a page, which begins at `start`; where it ends."""
        if self._until is not None:
            end = self._end_of_unread(page, start, self._until)
        elif not page.startswith(b"<", start):
            found = page.find(b"<", start)
            end = found if found >= 0 else len(page)
        elif page.startswith(_COMMENT, start):
            end, self._until = start + len(_COMMENT), _COMMENT_END
        elif len(page) - start < len(_COMMENT):
            return start
        elif not _OPENING.match(page, start):
            end = start + 1
        else:
            end = _end_of_tag(page, start)
            if end:
                settled.append(self._tag(page[start:end]))
                return end
            end = len(page) if len(page) - start > TAG_MAX_BYTES else start
        settled.append(page[start:end])
        return end

    def _end_of_unread(self, page: bytes, start: int, until: re.Pattern[bytes]) -> int:
        """Where the part without tags ends, as far as it is there."""
        found = until.search(page, start)
        if found is None:  # the last bytes may be the beginning of the end
            return max(start, len(page) - _END_MAX_BYTES + 1)
        self._until = None
        return found.end()

    def _tag(self, tag: bytes) -> bytes:
        name = _NAME.match(tag)
        assert name is not None
        self._until = _UNREAD.get(name[1].lower())
        return _ATTRIBUTE.sub(self._attribute, tag)

    def _attribute(self, found: re.Match[bytes]) -> bytes:
        name, equals, value = found.groups()
        quoted = value[:1] in (b'"', b"'")
        link = html.unescape((value[1:-1] if quoted else value).decode(errors="surrogateescape"))
        if name.lower() not in _WITH_LINKS or (rewritten := self._rewrite(link)) == link:
            return found[0]
        escaped = html.escape(rewritten).encode(errors="surrogateescape")
        return name + equals + b'"' + escaped + b'"'


def _end_of_tag(page: bytes, start: int) -> int:
    """Where the tag ends that begins at `start`; 0 when its end is not there."""
    position = start
    while (found := _QUOTE_OR_END.search(page, position)) is not None:
        if found[0] == b">":
            return found.end()
        closing = page.find(found[0], found.end())
        if closing < 0:
            return 0
        position = closing + 1
    return 0
