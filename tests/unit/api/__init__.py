"""Tests of common/api: objects, codecs, selectors, names, patches."""
