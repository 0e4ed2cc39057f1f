"""How a program for a person ends: exit codes, and one line on stderr."""

from __future__ import annotations

import sys
from typing import NoReturn

import grpc
import pytest

from common.api import errors
from common.api.scheme import SCHEME
from common.client.https import ConnectionFailed
from common.client.script import guarded, run


def fails(error: BaseException) -> str | int | None:
    """What the program ends with when it meets this."""

    def call() -> NoReturn:
        raise error

    with pytest.raises(SystemExit) as ended:
        guarded(call, "wherry: ")
    return ended.value.code


PODS = SCHEME.find("pods")
assert PODS is not None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (ConnectionFailed("no way"), "wherry: no way"),
        (errors.not_found(PODS, "x"), 'wherry: pods "x" not found'),
        (FileNotFoundError(2, "No such file", "/x"), "wherry: /x: no such file"),
        (ExceptionGroup("tasks", [errors.not_found(PODS, "x")]), 'wherry: pods "x" not found'),
        (errors.bad_request("two\n  lines"), "wherry: two lines"),
    ],
)
def test_what_is_wrong_outside_is_one_line(error: BaseException, code: str | int) -> None:
    assert fails(error) == code


def test_what_grpc_found_is_told() -> None:
    metadata = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, metadata, metadata, "nobody there")
    assert fails(error) == "wherry: nobody there"


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: print(1 // 0))


@pytest.mark.parametrize(
    ("words", "code"),
    [([], "USAGE"), (["a", "b", "c"], "USAGE"), (["a"], None), (["a", "b"], None)],
)
def test_a_program_takes_the_words_that_its_main_takes(
    monkeypatch: pytest.MonkeyPatch, words: list[str], code: str | None
) -> None:
    seen: list[tuple[str, str]] = []

    async def main(first: str, second: str = "") -> None:
        seen.append((first, second))

    monkeypatch.setattr(sys, "argv", ["program", *words])
    if code is None:
        run(main, "USAGE")
        assert len(seen) == 1
    else:
        with pytest.raises(SystemExit) as ended:
            run(main, "USAGE")
        assert ended.value.code == code
        assert not seen


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    async def main(first: str = "") -> None:
        raise AssertionError(first)

    monkeypatch.setattr(sys, "argv", ["program", word])
    run(main, "USAGE")
    assert capsys.readouterr().out == "USAGE\n"
