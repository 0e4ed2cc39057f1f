"""Kubernetes' Status as an exception, and the field errors of validation.

    StatusError                 any answer that is not a success
      details.causes            one a field error, for reason Invalid

Messages are facts that clients parse and people know by heart: they are Kubernetes' own
(k8s.io/apimachinery pkg/api/errors and pkg/util/validation/field).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from common.api.resource import Resource


class FieldError(NamedTuple):
    """One finding of validation: where, of which kind, and in which words."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        """`spec.replicas: Invalid value: -1: must be ...`."""
        return f"{self.field}: {self.message}"


def _quoted(value: Any) -> str:
    """A value as Kubernetes prints it in a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value[:_SHOWN_MAX_CHARACTERS], ensure_ascii=False)
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    import msgspec

    return msgspec.json.encode(value).decode()[:_SHOWN_MAX_CHARACTERS]


FINDINGS_MAX = 100
"""How many findings an answer tells; the work of finding more is not done."""
_SHOWN_MAX_CHARACTERS = 10_000
"""How much of a value stands in a message."""
_NAME_MAX_CHARACTERS = 1024
_MESSAGE_MAX_CHARACTERS = 20_000
_ANSWER_MAX_CHARACTERS = 65_536
"""How long a name or a path, a finding, and the message of an answer may be."""


def first(findings: Iterable[FieldError]) -> list[FieldError]:
    """As many findings as an answer tells: what yields them stops there."""
    return list(islice(findings, FINDINGS_MAX))


def required(field: str, detail: str = "") -> FieldError:
    """A value is missing."""
    message = f"Required value: {detail}" if detail else "Required value"
    return FieldError(field, "FieldValueRequired", message)


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """A value breaks a rule."""
    return FieldError(field, "FieldValueInvalid", f"Invalid value: {_quoted(value)}: {detail}")


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """A value is none of an enumeration's; Kubernetes lists it in an order of its own."""
    words = ", ".join(json.dumps(word) for word in supported)
    message = f"Unsupported value: {_quoted(value)}: supported values: {words}"
    return FieldError(field, "FieldValueNotSupported", message)


def duplicate(field: str, value: Any) -> FieldError:
    """A value that must be unique in its list is there twice."""
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {_quoted(value)}")


def forbidden(field: str, detail: str) -> FieldError:
    """A value may not be set or changed here."""
    return FieldError(field, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(field: str, limit_bytes: int) -> FieldError:
    """A value is longer than allowed."""
    message = f"Too long: may not be more than {limit_bytes} bytes"
    return FieldError(field, "FieldValueTooLong", message)


def too_many(field: str, count: int, limit: int) -> FieldError:
    """A list has more items than allowed."""
    return FieldError(
        field, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items"
    )


def not_found_value(field: str, value: Any) -> FieldError:
    """A reference inside the object leads nowhere."""
    return FieldError(field, "FieldValueNotFound", f"Not found: {_quoted(value)}")


class StatusError(Exception):
    """An answer that is not a success: HTTP code, machine-readable reason, message for people."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
    ) -> None:
        message = message[:_ANSWER_MAX_CHARACTERS]
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata: dict[str, str] = {}

    def status(self) -> dict[str, Any]:
        """The Status object, as plain JSON values."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body


def _details(resource: Resource | None, name: str, **more: Any) -> dict[str, Any]:
    """Status details that name an object."""
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if resource is not None:
        if resource.group:
            details["group"] = resource.group
        details["kind"] = resource.plural
    details.update(more)
    return details


def bad_request(message: str) -> StatusError:
    """400: the request itself is wrong."""
    return StatusError(400, "BadRequest", message)


class CannotBeHandled(StatusError):
    """400: a body is no object of its kind; `why` is the reason alone."""

    def __init__(self, kind: str, version: str, why: str) -> None:
        super().__init__(
            400,
            "BadRequest",
            f'{kind} in version "{version}" cannot be handled as a {kind}: {why}',
        )
        self.why = why


def too_deep() -> StatusError:
    """400: a body, or what a patch makes of one, has more levels than we follow."""
    return bad_request("the body is nested too deeply")


def unauthorized(message: str = "Unauthorized") -> StatusError:
    """401: who is asking is not known."""
    return StatusError(401, "Unauthorized", message)


def forbidden_request(resource: Resource | None, name: str, why: str) -> StatusError:
    """403: who is asking may not do this."""
    what = f"{resource.group_resource} " if resource is not None else ""
    named = f'"{name}" ' if name else ""
    message = f"{what}{named}is forbidden: {why}" if what else f"forbidden: {why}"
    return StatusError(403, "Forbidden", message, details=_details(resource, name))


def not_found(resource: Resource, name: str) -> StatusError:
    """404: no such object."""
    message = f'{resource.group_resource} "{name}" not found'
    return StatusError(404, "NotFound", message, details=_details(resource, name))


def unknown_path() -> StatusError:
    """404: no such resource or path."""
    message = "the server could not find the requested resource"
    return StatusError(404, "NotFound", message, details={})


def method_not_allowed(verb: str, resource: Resource) -> StatusError:
    """405: the resource does not have that verb."""
    message = f"{verb} is not supported on resources of kind {resource.group_resource!r}".replace(
        "'", '"'
    )
    return StatusError(405, "MethodNotAllowed", message, details=_details(resource, ""))


def not_acceptable(offered: Sequence[str]) -> StatusError:
    """406: no media type that the client accepts."""
    message = "only the following media types are accepted: " + ", ".join(offered)
    return StatusError(406, "NotAcceptable", message)


def already_exists(resource: Resource, name: str) -> StatusError:
    """409: the name is taken."""
    message = f'{resource.group_resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details=_details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> StatusError:
    """409: the object is not as the request presumes."""
    message = f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, details=_details(resource, name))


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def expired(message: str) -> StatusError:
    """410: the revision is no longer kept."""
    return StatusError(410, "Expired", message)


def too_large(message: str) -> StatusError:
    """413: the body is over the limit."""
    return StatusError(413, "RequestEntityTooLarge", message)


def unsupported_media_type(offered: Sequence[str]) -> StatusError:
    """415: the body's media type is not understood."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(offered)
    )
    return StatusError(415, "UnsupportedMediaType", message)


def invalid_object(group: str, kind: str, name: str, findings: Sequence[FieldError]) -> StatusError:
    """422: the object breaks rules; one cause a finding, as many as an answer tells."""
    name = name[:_NAME_MAX_CHARACTERS]
    findings = [
        FieldError(
            finding.field[:_NAME_MAX_CHARACTERS],
            finding.reason,
            finding.message[:_MESSAGE_MAX_CHARACTERS],
        )
        for finding in findings[:FINDINGS_MAX]
    ]
    texts = list(dict.fromkeys(str(finding) for finding in findings))
    summary = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind}.{group}" if group else kind
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind
    details["causes"] = [
        {"reason": f.reason, "message": f.message, "field": f.field} for f in findings
    ]
    message = f'{qualified} "{name}" is invalid: {summary}'
    return StatusError(422, "Invalid", message, details=details)


def unprocessable(message: str) -> StatusError:
    """422 without a field: a patch that does not fit, an option that is not understood."""
    return StatusError(422, "Invalid", message, details={})


def too_many_requests(message: str, *, retry_after_seconds: int) -> StatusError:
    """429: come back later."""
    details = {"retryAfterSeconds": retry_after_seconds}
    return StatusError(429, "TooManyRequests", message, details=details)


def internal(message: str) -> StatusError:
    """500: a mistake of ours."""
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", details={})


def unavailable(message: str) -> StatusError:
    """503: the store or a node cannot be reached."""
    return StatusError(503, "ServiceUnavailable", message, details={"retryAfterSeconds": 1})


def stopping() -> StatusError:
    """503: the master that was asked is on its way out."""
    return unavailable("the master is stopping")


def timeout(message: str, *, causes: Sequence[dict[str, str]] = ()) -> StatusError:
    """504: the outcome is not known, or the revision has not come yet."""
    details: dict[str, Any] = {"retryAfterSeconds": 1}
    if causes:
        details["causes"] = list(causes)
    return StatusError(504, "Timeout", message, details=details)
