"""docs/grpc.md is what the generator makes of the comments, and nothing is without one."""

from __future__ import annotations

from pathlib import Path

from protos import docs

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_made_from_the_comments() -> None:
    """A field without a comment is a KeyError; after a change: python -m protos.docs."""
    assert (ROOT / docs.PAGE).read_text() == docs.render(ROOT)
