"""Errors become Kubernetes' Status: none of what lies below the registry reaches a caller as it is.

`status_of` is the one table from the storage's, the codec's and arithmetic's errors to Kubernetes'
Status. `answering` applies it to a verb of the registry.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import msgspec

from common.api import errors
from common.api.errors import StatusError
from common.api.resource import Resource
from master.apiserver.request.target import Target
from master.storage import store as storage
from master.storage.keys import InvalidKey
from master.storage.subscription import WatchEnded
from master.storage.watchcache import NotYet

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
UNREADABLE = (ArithmeticError, ValueError, RecursionError, msgspec.MsgspecError)
"""What a value raises that no rule has refused before it was worked on."""


def status_of(error: Exception, resource: Resource, name: str = "") -> StatusError | None:
    """The Status of an error of storage, codec or arithmetic; None for a mistake of ours."""
    match error:
        case StatusError():
            return error
        case storage.StoreError():
            return _of_storage(error, resource, name)
        case NotYet():
            return errors.timeout(f"the watch cache lags behind: {error}")
        case WatchEnded():
            return errors.expired(f"the watch has ended: {error}")
        case InvalidKey():
            return errors.not_found(resource, name)
        case ValueError() | ArithmeticError() | RecursionError() | msgspec.MsgspecError():
            return errors.bad_request(f"a value cannot be worked with: {str(error)[:200]}")
    return None


def _of_storage(error: storage.StoreError, resource: Resource, name: str) -> StatusError:
    match error:
        case storage.OutcomeUnknown():
            return errors.timeout(
                f"etcd did not answer in time, and the outcome is not known: {error}"
            )
        case storage.TooLarge():
            return errors.too_large(str(error))
        case storage.NoSpace():
            return StatusError(507, "InsufficientStorage", str(error))
        case storage.KeyExists():
            return errors.already_exists(resource, name)
        case storage.KeyNotFound():
            return errors.not_found(resource, name)
        case storage.Conflict() | storage.AllocationTaken() | storage.GuardFailed():
            return errors.conflict(resource, name, errors.MODIFIED)
        case storage.Compacted() | storage.FutureRevision():
            return errors.expired(str(error))
    return errors.unavailable(f"etcd cannot be reached: {error}")


def answering(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """A verb of the registry that raises nothing but StatusError, and what is a mistake of ours."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except StatusError:
            raise
        except Exception as error:
            resource = next(arg.resource for arg in args if isinstance(arg, Target))
            raise translated(error, resource, method.__name__) from error

    return call


def translated(error: Exception, resource: Resource, verb: str) -> Exception:
    """What is raised in place of an error; of values that no rule refused the log tells."""
    status = status_of(error, resource)
    if status is None:
        return error
    if isinstance(error, UNREADABLE) and not isinstance(error, InvalidKey):
        extra: dict[str, Any] = {"object": resource.group_resource, "verb": verb}
        log.warning("a value was refused late", extra=extra, exc_info=error)
    return status
