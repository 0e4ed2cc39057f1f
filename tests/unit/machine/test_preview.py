"""`deploy/install --check` says what an install would do, and an install does what it said."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.preflight.facts import Facts
from deploy.machine import __main__ as program
from deploy.machine import observe, preview, wanted
from deploy.machine.ledger import Ledger
from deploy.machine.observe import Found
from deploy.machine.plan import plan
from deploy.machine.steps import Executor

NODE = wanted.node("/opt/wherry/2", "https://10.0.0.1:6443")
FILES = {file.path: file.content for file in NODE.files}
FACTS = Facts(now=datetime(2026, 1, 1, tzinfo=UTC))
KUBELET = "/etc/wherry/kubelet.yaml"


def found(contents: dict[str, str]) -> Found:
    """A machine with these files, where all else is as it should be."""
    units = dict.fromkeys((*NODE.units, *NODE.needed), observe.UnitState("l", "active", "enabled"))
    return Found(
        checksums={p: wanted.File(path=p, content=c).checksum for p, c in contents.items()},
        links=NODE.links,
        paths=frozenset({*contents, *NODE.links, *NODE.directories}),
        units=units,
    )


def said(contents: dict[str, str], *, ours: dict[str, str], programs: str = "") -> list[str]:
    """What is said of a machine on which an install has written `ours`."""
    sums = {p: (wanted.File(path=p, content=c).checksum,) for p, c in ours.items()}
    made = plan(NODE, found(contents), Ledger(roles=("node",), files=sums))
    lines = preview.lines(made, packages=(), programs=programs, contents=contents)
    return list(lines)


def test_a_machine_that_is_as_it_should_be() -> None:
    assert said(FILES, ours=FILES) == ["nothing to change"]


def test_a_file_that_changes_is_shown_before_and_after() -> None:
    old = FILES | {KUBELET: FILES[KUBELET].replace("10.0.0.1", "10.0.0.9")}
    assert said(old, ours=old) == [
        f"would be writing {KUBELET}",
        "would be restarting wherry-kubelet.service",
        f"--- {KUBELET}",
        f"+++ {KUBELET}",
        "@@ -1,4 +1,4 @@",
        " # Made by deploy/install, which leaves this file alone once it was changed.",
        " # wherry-kubelet --help tells what can be set.",
        "-master: https://10.0.0.9:6443",
        "+master: https://10.0.0.1:6443",
        " token-file: /etc/wherry/join.token",
    ]


def test_a_file_of_somebody_elses_is_named_and_not_shown() -> None:
    """What they have written into it is theirs."""
    theirs = FILES | {KUBELET: "password: secret\n"}
    assert said(theirs, ours=FILES) == [
        "nothing to change",
        f"would keep {KUBELET}: somebody else has written or changed it",
    ]


def test_packages_and_programs_come_first() -> None:
    made = plan(NODE, found({}), Ledger(roles=("node",)))
    lines = preview.lines(made, packages=("podman", "nftables"), programs="/opt/2", contents={})
    assert list(lines)[:3] == [
        "would be installing the packages podman nftables",
        "would be installing Wherry into /opt/2",
        f"would be writing {NODE.files[0].path}",
    ]


def test_a_new_file_is_shown_as_a_whole() -> None:
    assert preview.difference("/a", None, "one\n") == [
        "--- /dev/null",
        "+++ /a",
        "@@ -0,0 +1 @@",
        "+one",
    ]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_check_changes_nothing(
    is_new: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It notes nothing in the ledger either, and asks for no token."""
    monkeypatch.setattr(program, "Executor", lambda: Executor(tmp_path))
    monkeypatch.setattr(program, "_checked", lambda arguments: FACTS)
    monkeypatch.setattr(observe, "unit_states", lambda executor, names: {})
    arguments = argparse.Namespace(
        verb="check",
        role="node",
        server="https://10.0.0.1:6443",
        token_file="",
        programs="/opt/wherry/2",
        is_new=is_new,
    )
    program.check(arguments)
    printed = capsys.readouterr().out
    assert ("would be installing Wherry into /opt/wherry/2\n" in printed) == is_new
    assert f"+++ {KUBELET}\n" in printed
    assert list(tmp_path.iterdir()) == []
