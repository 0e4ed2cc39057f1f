"""The options of calls; from a query they are decoded, and refused in Kubernetes' words. Pure.

Source: k8s.io/apimachinery pkg/apis/meta/v1/validation and pkg/apis/meta/internalversion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.api import errors, integers
from common.api.codec import json as codec
from common.api.errors import FieldError
from common.api.types import meta_v1
from common.security.identity import Identity
from master.apiserver.request import bodies
from master.apiserver.request.context import Context

Parameters = Mapping[str, str]
POLICIES = ("Foreground", "Background", "Orphan")
"""Of deletion: what becomes of the dependents."""
FIELD_MANAGER_MAX_BYTES = 128
_KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}
_VALIDATIONS = ("Ignore", "Strict", "Warn")
_MATCH = "resourceVersionMatch"
_NOT_OLDER = "NotOlderThan"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """The options of a delete that the registry acts on."""

    grace_period_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""
    propagation_policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """The options of a list."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    resource_version_match: str = ""

    @property
    def of_history(self) -> bool:
        """Whether a past state is asked for, which the store has and the cache has not."""
        return bool(self.continue_token) or self.resource_version_match == "Exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The options of a watch."""

    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    allow_bookmarks: bool = False
    send_initial_events: bool = False

    @property
    def begins_with_state(self) -> bool:
        """Whether all objects that there are come first, as in a list."""
        return self.resource_version in ("", "0") or self.send_initial_events


def truthy(value: str | None) -> bool:
    """Query booleans: everything but 0 and false is true, an empty value too."""
    return value is not None and value.lower() not in ("0", "false")


def context(parameters: Parameters, user: Identity, verb: str) -> Context:
    """The options of a write; raises StatusError 422 for values that do not exist."""
    dry_run = parameters.get("dryRun", "")
    validation = parameters.get("fieldValidation", "") or "Warn"
    findings = []
    if dry_run not in ("", "All"):
        findings.append(errors.not_supported("dryRun", [dry_run], ["All"]))
    manager = parameters.get("fieldManager", "")
    if len(manager.encode()) > FIELD_MANAGER_MAX_BYTES:
        findings.append(errors.too_long("fieldManager", FIELD_MANAGER_MAX_BYTES))
    elif not manager.isprintable():
        findings.append(
            errors.invalid("fieldManager", manager, "should only contain printable characters")
        )
    if validation not in _VALIDATIONS:
        findings.append(errors.not_supported("fieldValidation", validation, _VALIDATIONS))
    _refuse(_KINDS.get(verb, "DeleteOptions"), findings)
    return Context(user=user, dry_run=dry_run == "All", field_validation=validation)


def for_list(parameters: Parameters) -> ListOptions:
    """The options of a list; raises StatusError 400 or 422."""
    limit = parameters.get("limit", "") or "0"
    number = integers.parse(limit)
    if number is None or number < 0:
        raise errors.bad_request(f'Invalid value: "{limit}": limit must be a non-negative integer')
    _refuse("ListOptions", _list_problems(parameters))
    return ListOptions(
        label_selector=parameters.get("labelSelector", ""),
        field_selector=parameters.get("fieldSelector", ""),
        limit=number,
        continue_token=parameters.get("continue", ""),
        resource_version=parameters.get("resourceVersion", ""),
        resource_version_match=parameters.get(_MATCH, ""),
    )


def for_watch(parameters: Parameters, name: str = "") -> WatchOptions:
    """The options of a watch, of one object if it has a name; raises StatusError 422."""
    _refuse("ListOptions", _watch_problems(parameters))
    field_selector = parameters.get("fieldSelector", "")
    if name:
        own = f"metadata.name={name}"
        field_selector = f"{field_selector},{own}" if field_selector else own
    return WatchOptions(
        label_selector=parameters.get("labelSelector", ""),
        field_selector=field_selector,
        resource_version=parameters.get("resourceVersion", ""),
        allow_bookmarks=truthy(parameters.get("allowWatchBookmarks")),
        send_initial_events=truthy(parameters.get("sendInitialEvents")),
    )


def for_delete(body: bytes, kind: str, parameters: Parameters, ctx: Context) -> DeleteOptions:
    """Options of a delete from the body, or else from the query; raises StatusError 400 or 422.

    A policy that is the empty text is not one that was left out: that is an error.
    """
    plain = bodies.Body(body, kind).plain() if body.strip() else {}
    if not isinstance(plain, dict):
        raise errors.bad_request("the body of a delete must be DeleteOptions")
    wanted, _ = codec.convert_request(plain, meta_v1.DeleteOptions)
    grace = wanted.gracePeriodSeconds
    if grace is None and "gracePeriodSeconds" in parameters:
        grace = _seconds(parameters["gracePeriodSeconds"])
    ctx.dry_run = ctx.dry_run or bool(wanted.dryRun)
    orphan = wanted.orphanDependents
    if orphan is None and "orphanDependents" in parameters:
        orphan = truthy(parameters["orphanDependents"])
    policy = wanted.propagationPolicy
    if policy is None:
        policy = parameters.get("propagationPolicy")
    _refuse("DeleteOptions", _policy_problems(policy, orphan))
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    conditions = wanted.preconditions or meta_v1.Preconditions()
    return DeleteOptions(
        grace_period_seconds=grace,
        uid=conditions.uid or "",
        resource_version=conditions.resourceVersion or "",
        propagation_policy=policy or "",
    )


def _policy_problems(policy: str | None, orphan: bool | None) -> Iterable[FieldError]:
    if policy is not None and orphan is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        yield errors.invalid("propagationPolicy", policy, text)
    if policy not in (None, *POLICIES):
        yield errors.not_supported("propagationPolicy", policy, (*POLICIES, "nil"))


def _refuse(kind: str, found: Iterable[FieldError]) -> None:
    findings = list(found)
    if findings:
        raise errors.invalid_object("meta.k8s.io", kind, "", findings)


def _list_problems(parameters: Parameters) -> Iterable[FieldError]:
    match, version = parameters.get(_MATCH, ""), parameters.get("resourceVersion", "")
    if match and not version:
        text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        yield errors.forbidden(_MATCH, text)
    yield from _with_continue(parameters)
    if match not in ("", "Exact", _NOT_OLDER):
        yield errors.not_supported(_MATCH, match, ("Exact", _NOT_OLDER, ""))
    if match == "Exact" and version == "0":
        text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        yield errors.forbidden(_MATCH, text)
    if parameters.get("sendInitialEvents"):
        yield errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _watch_problems(parameters: Parameters) -> Iterable[FieldError]:
    match, initial = parameters.get(_MATCH, ""), parameters.get("sendInitialEvents", "")
    if initial and not match:
        text = f"sendInitialEvents requires setting resourceVersionMatch to {_NOT_OLDER}"
        yield errors.forbidden(_MATCH, text)
    if match and not initial:
        text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        yield errors.forbidden(_MATCH, text)
    if match not in ("", _NOT_OLDER):
        yield errors.not_supported(_MATCH, match, (_NOT_OLDER,))
    yield from _with_continue(parameters)


def _with_continue(parameters: Parameters) -> Iterable[FieldError]:
    if parameters.get(_MATCH) and parameters.get("continue"):
        text = "resourceVersionMatch is forbidden when continue is provided"
        yield errors.forbidden(_MATCH, text)


def _seconds(text: str) -> int:
    """A number of seconds in a query."""
    number = integers.parse(text)
    if number is None:
        raise errors.bad_request(f'Invalid value: "{text}": gracePeriodSeconds must be a number')
    return number
