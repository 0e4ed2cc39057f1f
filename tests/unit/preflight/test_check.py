"""`wherry check`: what it prints, and how it ends."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from common.cli import main
from common.preflight import probe
from common.preflight.facts import Facts

FINE = Facts(now=datetime(2027, 1, 1, tzinfo=UTC), routed_address="10.0.0.1")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The facts that a check finds, and whom it asked for them."""
    found: dict[str, Any] = {"facts": FINE}

    def facts(*arguments: Any) -> Facts:
        found["arguments"] = arguments
        made = found["facts"]
        assert isinstance(made, Facts)
        return made

    monkeypatch.setattr(probe, "facts", facts)
    return found


def check(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """The exit code of `wherry check`."""
    monkeypatch.setattr(sys, "argv", ["wherry", "check", *words])
    try:
        main.main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_a_machine_that_is_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: dict[str, Any]
) -> None:
    asked["facts"] = replace(FINE, firewalls=("ufw",))
    assert check(monkeypatch, "master") == 0
    warning, fit = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: ufw is active")
    assert fit == "this machine can be a master"


def test_each_problem_is_a_line_and_packages_are_among_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: dict[str, Any]
) -> None:
    asked["facts"] = replace(FINE, machine_id="", missing=("podman",))
    assert check(monkeypatch, "node", "--server", "https://10.0.0.1:6443") == 1
    assert capsys.readouterr().out.splitlines() == [
        "/etc/machine-id holds no id: systemd-machine-id-setup",
        "packages are missing: apt-get install podman",
    ]
    assert asked["arguments"][:2] == ("node", "https://10.0.0.1:6443")


def test_a_server_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: dict[str, Any]
) -> None:
    assert check(monkeypatch, "node", "--server", "10.0.0.1") == 2
    assert "'10.0.0.1' is not a URL such as https://MASTER:6443" in capsys.readouterr().err
    assert "arguments" not in asked
