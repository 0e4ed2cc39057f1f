"""G30: no script or playbook tells a token as an argument, in a log, or in a file of others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [
    *(ROOT / "deploy" / name for name in ("install", "uninstall", "local", "demo/serve")),
    *sorted((ROOT / "deploy/lib").glob("*.sh")),
]
PLAYBOOKS = sorted((ROOT / "deploy/ansible").rglob("*.yml"))
OF_SECRETS = re.compile(
    r"wherry_token\b|token, create|\badmin\.(token|kubeconfig)\b|slurp.*\.key\b"
)
"""What makes, holds or reads a secret."""
AS_ARGUMENT = re.compile(r"--token(?!-file)[ =,]|-e\s+['\"]?\w*token=|Bearer \$")
TOLD = re.compile(r"set -[a-z]*x|\b(echo|printf|say|note)\b[^|]*\$\{?\w*(token|secret)\b")
MADE = re.compile(r"token create")


def tasks_of(document: Any) -> Iterator[dict[str, Any]]:
    """Every task, also those in blocks."""
    for entry in document if isinstance(document, list) else ():
        inner = [entry.get(key) for key in ("tasks", "pre_tasks", "post_tasks", "handlers")]
        inner += [entry.get(key) for key in ("block", "rescue", "always")]
        if not any(inner):
            yield entry
        for part in inner:
            yield from tasks_of(part)


def problems_of_task(task: dict[str, Any]) -> list[str]:
    """How a task could tell a secret."""
    text, found = yaml.safe_dump(task), []
    if AS_ARGUMENT.search(text):
        found.append("a token is an argument")
    if not OF_SECRETS.search(str(task).replace("'", "")):
        return found
    if not task.get("no_log"):
        found.append("no no_log")
    copied = task.get("ansible.builtin.copy")
    if copied and (copied.get("mode") != "0600" or task.get("diff") is not False):
        found.append("a secret is written with another mode than 0600, or shown as a difference")
    return found


def problems_of_line(line: str) -> list[str]:
    """How a line of a script could tell a secret."""
    code = line.partition(" #")[0]
    forms = {"as an argument": AS_ARGUMENT, "told": TOLD}
    found = [what for what, form in forms.items() if form.search(code)]
    if MADE.search(code) and not re.search(r"umask 077 && .*token create.*> ", code):
        found.append("not into a file of its own")
    return found


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_playbook_tells_a_secret(path: Path) -> None:
    tasks = list(tasks_of(yaml.safe_load(path.read_text())))
    assert {task.get("name", ""): problems_of_task(task) for task in tasks} == {
        task.get("name", ""): [] for task in tasks
    }


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_script_tells_a_secret(path: Path) -> None:
    lines = enumerate(path.read_text().splitlines(), 1)
    texts = ((n, line) for n, line in lines if "`wherry token create`" not in line)
    assert {n: found for n, line in texts if (found := problems_of_line(line))} == {}


def test_both_searches_find_what_they_look_for() -> None:
    token = {"ansible.builtin.command": {"argv": ["wherry", "token", "create"]}}
    copied = {"ansible.builtin.copy": {"content": "{{ wherry_token.stdout }}", "mode": "0644"}}
    passed = {"ansible.builtin.command": {"cmd": "deploy/install --token {{ t }}"}}
    block = [{"block": [{"block": [passed]}]}]
    assert problems_of_task({"x": "[wherry, token, create]", **token}) == ["no no_log"]
    assert len(problems_of_task({**copied, "no_log": True})) == 1
    assert [problems_of_task(task) for task in tasks_of(block)] == [["a token is an argument"]]
    for line in (
        'deploy/install node --token "$token"',
        "ansible-playbook site.yml -e wherry_token=abc",
        'curl -H "Authorization: Bearer $token"',
        'echo "joined with $token"',
        "set -eux",
        "token=$(wherry token create)",
    ):
        assert problems_of_line(line), line
