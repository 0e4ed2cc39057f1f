"""Structured logs on stderr: one record is one line, whatever a message contains."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE_VALUE = re.compile(r"[A-Za-z0-9_./:@%+,\-]+")


def configure(
    component: str, *, level: str = "INFO", encoding: Literal["text", "json"] = "text"
) -> None:
    """Send all logs of this process to stderr; calling again replaces what was set up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(component, encoding))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class LineFormatter(logging.Formatter):
    """Writes time, level, component, logger, message and the `extra` fields in one line.

    Control characters and line breaks are escaped, so that no value can forge a record.
    """

    def __init__(self, component: str, encoding: Literal["text", "json"] = "text") -> None:
        super().__init__()
        self._component = component
        self._encode = _as_json if encoding == "json" else _as_text

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line without its line break."""
        time = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD_FIELDS:
                fields.setdefault(name, value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return self._encode(fields)


def _as_json(fields: dict[str, Any]) -> str:
    # ASCII only, which also escapes the Unicode line separators.
    return json.dumps(fields, ensure_ascii=True, default=str)


def _as_text(fields: dict[str, Any]) -> str:
    return " ".join(f"{_text_value(name)}={_text_value(value)}" for name, value in fields.items())


def _text_value(value: Any) -> str:
    text = str(value)
    if _BARE_VALUE.fullmatch(text):
        return text
    return "".join(_escape(character) for character in json.dumps(text, ensure_ascii=False))


def _escape(character: str) -> str:
    return character if character.isprintable() else f"\\u{ord(character):04x}"
