"""Structured logs on stderr: one record is one line, whatever a message contains."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE_VALUE = re.compile(r"[A-Za-z0-9_./:@%+,\-]+")


Encoding = Literal["text", "json"]


def configure(component: str, *, level: str = "INFO", encoding: Encoding = "text") -> None:
    """Send all logs of this process to stderr; calling again replaces what was set up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(component, encoding))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beside its message: the `extra` fields, and what failed."""
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    if record.stack_info:
        fields["stack"] = record.stack_info
    return fields


class LineFormatter(logging.Formatter):
    """Writes time, level, component, logger, message and the `extra` fields in one line.

    Control characters and line breaks are escaped, so that no value can forge a record.
    """

    def __init__(self, component: str, encoding: Encoding = "text") -> None:
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
        return self._encode({**fields, **fields_of(record), **fields})


def _as_json(fields: dict[str, Any]) -> str:
    # ASCII only, which also escapes the Unicode line separators.
    return json.dumps(fields, ensure_ascii=True, default=str)


def _as_text(fields: dict[str, Any]) -> str:
    return " ".join(f"{text_value(name)}={text_value(value)}" for name, value in fields.items())


def text_value(value: Any) -> str:
    """A value in one word, or in quotes."""
    text = str(value)
    return text if _BARE_VALUE.fullmatch(text) else printable(json.dumps(text, ensure_ascii=False))


def printable(text: str) -> str:
    """A text without control characters and line breaks."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
