"""What a request asks for, beside its object: who, how, and with which options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from common.api import errors
from common.security.identity import Identity

WARNINGS_MAX_CHARACTERS = 4096
WARNING_CUT_CHARACTERS = 256


class Warnings:
    """What a client should know although its request succeeds: each text once.

    Past 4096 characters in all, each text is cut to 256 and what is then too much is left out.
    Source: k8s.io/apiserver pkg/endpoints/filters/warning.go.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts: dict[str, None] = {}
        self._characters = 0
        self.add(texts)

    def add(self, texts: Iterable[str]) -> None:
        """Take more texts."""
        for text in texts:
            if text and text not in self._texts and not self._full:
                self._texts[text] = None
                self._characters += min(len(text), WARNING_CUT_CHARACTERS)

    @property
    def _full(self) -> bool:
        """Whether not even texts that are cut have room."""
        return self._characters >= WARNINGS_MAX_CHARACTERS

    def __iter__(self) -> Iterator[str]:
        cut = sum(map(len, self._texts)) > WARNINGS_MAX_CHARACTERS
        return (text[:WARNING_CUT_CHARACTERS] if cut else text for text in self._texts)


@dataclass(slots=True, kw_only=True)
class Context:
    """One write request. `warnings` collects what the answer's Warning headers will say.

    `weight` is the size of its body in bytes, and more for forms that take longer to read.
    """

    user: Identity
    weight: int = 0
    dry_run: bool = False
    field_validation: str = "Warn"
    warnings: Warnings = field(default_factory=Warnings)
    audit: dict[str, str] = field(default_factory=dict)
    """Annotations of the line in the audit log, by key."""

    def take_findings(self, kind: str, version: str, findings: Sequence[str]) -> None:
        """Act on what strict decoding of an object has found, as fieldValidation asks.

        Raises CannotBeHandled if that is Strict.
        """
        if not findings or self.field_validation == "Ignore":
            return
        if self.field_validation == "Strict":
            why = f"strict decoding error: {', '.join(findings)}"
            raise errors.CannotBeHandled(kind, version, why)
        self.warnings.add(findings)
