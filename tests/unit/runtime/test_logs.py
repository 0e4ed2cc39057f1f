"""One record is one line."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.logs import LineFormatter, configure


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.getLogger("master.x").makeRecord(
        "master.x", logging.WARNING, "file.py", 1, message, (), None, extra=extra
    )


def test_text_line_has_all_fields() -> None:
    line = LineFormatter("master").format(record("pod bound", object="default/web", rv=7))
    assert line.split(" ", 1)[1] == (
        'level=warning component=master logger=master.x message="pod bound" object=default/web rv=7'
    )


@given(text=st.text())
@pytest.mark.parametrize("encoding", ["text", "json"])
def test_no_value_breaks_the_line(encoding: str, text: str) -> None:
    line = LineFormatter("master", encoding).format(record(text, field=text))  # type: ignore[arg-type]
    assert line.isprintable()
    if encoding == "json":
        assert json.loads(line)["message"] == text


def test_exceptions_stay_on_the_line() -> None:
    one = record("failed")
    try:
        raise ValueError("a\nb")
    except ValueError:
        one.exc_info = sys.exc_info()
    line = LineFormatter("master").format(one)
    assert "\n" not in line and "ValueError: a\\nb" in line


def test_configure_writes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        configure("kubelet", level="WARNING")
        logging.getLogger("x").info("quiet")
        logging.getLogger("x").warning("loud")
    finally:
        root.handlers, root.level = handlers, level
    assert capsys.readouterr().err.count("\n") == 1
