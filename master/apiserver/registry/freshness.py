"""How new the watch cache must be before it answers; the store's trouble as a Status.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

from common.api import errors, integers
from master.storage.store import StoreError
from master.storage.watchcache import NotYet, WatchCache

WAIT_SECONDS = 3.0
MOMENT_SECONDS = 0.2
RESOURCE_TOO_LARGE = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}


async def fresh(cache: WatchCache, resource_version: str = "") -> None:
    """Wait until the cache has a revision; all that was written before, without one.

    Raises StatusError 400 for what is no revision, 503 or 504 when it does not come to be.
    """
    if resource_version == "0":
        return
    wanted = parse_revision(resource_version) if resource_version else None
    revision = await of_store(cache) if wanted is None else wanted
    if not await _reaches(cache, revision):
        raise _too_late(cache, revision, asked=wanted is not None)


async def is_fresh(cache: WatchCache) -> bool:
    """Whether the cache has all that was written before; raises StatusError 503."""
    return cache.revision >= await of_store(cache)


async def of_store(cache: WatchCache) -> int:
    """The store's revision, and no older than what was written before; raises StatusError 503."""
    try:
        return await cache.consistent_revision()
    except StoreError as error:
        raise errors.unavailable(f"etcd cannot be reached: {error}") from error


async def _reaches(cache: WatchCache, revision: int) -> bool:
    """Whether the cache gets there in time.

    When a busy loop comes to the end of the wait, what has arrived meanwhile may still lie there
    unread: it is given one more moment.
    """
    for seconds in (WAIT_SECONDS, MOMENT_SECONDS):
        try:
            await cache.wait_for(revision, timeout_seconds=seconds)
        except NotYet:
            continue
        return True
    return False


def _too_late(cache: WatchCache, revision: int, *, asked: bool) -> errors.StatusError:
    """504, with the time after which to try again."""
    text = f"Timeout: Too large resource version: {revision}, current: {cache.revision}"
    if not asked:
        text = (
            f"Timeout: this master is behind its store, which is at revision {revision}: it is at "
            f"{cache.revision}, and may have more to do than it can"
        )
    return errors.timeout(text, causes=[RESOURCE_TOO_LARGE] if asked else [])


def parse_revision(text: str) -> int:
    """A resourceVersion as a number; raises StatusError 400."""
    number = integers.parse(text) if text.isdigit() else None
    if number is None:
        raise errors.bad_request(f'Invalid value: "{text[:100]}": must be an unsigned integer')
    return number
