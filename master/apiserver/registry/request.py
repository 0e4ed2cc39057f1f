"""What a request asks for, beside its object: who, how, and with which options."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.api import errors
from common.security.identity import Identity


@dataclass(slots=True, kw_only=True)
class Context:
    """One write request. `warnings` collects what the answer's Warning headers will say."""

    user: Identity
    dry_run: bool = False
    field_validation: str = "Warn"
    warnings: list[str] = field(default_factory=list)

    def take_findings(self, findings: list[str]) -> None:
        """Act on what strict decoding has found, as fieldValidation asks."""
        if not findings or self.field_validation == "Ignore":
            return
        if self.field_validation == "Strict":
            raise errors.bad_request(f"strict decoding error: {', '.join(findings)}")
        self.warnings += findings


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The options of a watch."""

    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    allow_bookmarks: bool = False
    send_initial_events: bool = False
