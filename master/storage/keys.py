"""Store keys: built from validated segments, never normalised, never from raw user text."""

ROOT = "/wherry"
EVERYTHING = f"{ROOT}/"
"""All that masters write; each revision of the store is a change below it. Where etcd's prefix
is another one, only the store knows."""
REGISTRY = f"{ROOT}/registry/"
"""The objects: one a key, and at most one is changed by a transaction."""
ALLOCATIONS = f"{ROOT}/alloc/"
"""Addresses, ports and the like, outside the objects' prefix."""
COMPACTION = f"{ROOT}/compaction"
"""Written before each compaction, so that history ends also where nothing else is written."""
COUNTER = f"{ROOT}/revision"
"""Part of each write where etcd is shared with others; readers of the store never see it."""

MAX_SEGMENT = 253


class InvalidKey(ValueError):
    """A segment that must not become part of a key; the message is safe to show."""


def segment(text: str) -> str:
    """`text` itself if it can be one step of a key. Raises InvalidKey."""
    if not text or text in (".", ".."):
        raise InvalidKey(f"{text!r} is not a name")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SEGMENT:
        raise InvalidKey(f"a name has at most {MAX_SEGMENT} bytes")
    if "/" in text or not text.isprintable():
        raise InvalidKey(f"{text!r} contains a character that a name must not have")
    return text


def registry_prefix(resource: str, namespace: str = "") -> str:
    """The prefix of a resource's objects, of one namespace if given."""
    return REGISTRY + _path(resource, *filter(None, [namespace])) + "/"


def registry_key(resource: str, name: str, namespace: str = "") -> str:
    """The key of one object."""
    return registry_prefix(resource, namespace) + segment(name)


def allocation_key(pool: str, name: str) -> str:
    """The key of one allocated value of a pool, such as `clusterips` and an address."""
    return ALLOCATIONS + _path(pool, name)


def _path(*segments: str) -> str:
    return "/".join(map(segment, segments))


def check_prefix(prefix: str) -> str:
    """`prefix` itself if it ends a segment, so that `a/` never shows `ab/`."""
    if not prefix.endswith("/"):
        raise InvalidKey(f"prefix {prefix!r} must end with a slash")
    return prefix
