"""How new the watch cache must be before it answers; the store's trouble as a Status.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

from common.api import errors, integers
from master.storage.store import StoreError
from master.storage.watchcache import NotYet, WatchCache

WAIT_SECONDS = 3.0
RESOURCE_TOO_LARGE = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}


async def fresh(cache: WatchCache, resource_version: str = "") -> None:
    """Wait until the cache has a revision; all that was written before, without one.

    Raises StatusError 400 for what is no revision, 503 or 504 when it does not come to be.
    """
    if resource_version == "0":
        return
    wanted = parse_revision(resource_version) if resource_version else None
    try:
        revision = await cache.consistent_revision() if wanted is None else wanted
        await cache.wait_for(revision, timeout_seconds=WAIT_SECONDS)
    except NotYet as error:
        raise errors.timeout(
            f"Too large resource version: {resource_version or 'latest'}, "
            f"current: {cache.revision}",
            causes=[RESOURCE_TOO_LARGE],
        ) from error
    except StoreError as error:
        raise errors.unavailable(f"etcd cannot be reached: {error}") from error


def parse_revision(text: str) -> int:
    """A resourceVersion as a number; raises StatusError 400."""
    number = integers.parse(text) if text.isdigit() else None
    if number is None:
        raise errors.bad_request(f'Invalid value: "{text[:100]}": must be an unsigned integer')
    return number
