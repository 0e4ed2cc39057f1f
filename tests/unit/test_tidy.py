"""The style of the repository as a test: sizes, docstrings, and pages that must be there."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
TEST_LINES_MAX = 1000
PLUGIN_LINES_MAX = 200


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository, generated ones left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


PYTHON = tracked("*.py")
SHELL = tracked(
    "*.sh",
    "deploy/local",
    "deploy/install",
    "deploy/uninstall",
    "tests/run",
    "tests/machines/vm",
    ".ci/run",
)


def name_of(path: Path) -> str:
    """A short name for test ids."""
    return str(path.relative_to(ROOT))


def test_every_directory_of_modules_is_a_package() -> None:
    """What has no __init__.py is found here, and is missing where a wheel is installed."""
    programs = [path for path in PYTHON if not name_of(path).startswith(("tests/", "deploy/"))]
    rooms = {path.parent for path in programs} - {ROOT}
    assert [name_of(room) for room in rooms if not (room / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", [*PYTHON, *SHELL], ids=name_of)
def test_files_are_short(path: Path) -> None:
    """Files have at most 600 lines, tests 1 000, scheduler plugins 200."""
    lines = len(path.read_text().splitlines())
    name = name_of(path)
    limit = TEST_LINES_MAX if name.startswith("tests/") else FILE_LINES_MAX
    if name.startswith("master/scheduler/plugins/"):
        limit = PLUGIN_LINES_MAX
    assert lines <= limit


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    """Functions have at most 70 lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


@pytest.mark.parametrize(
    "path", [p for p in PYTHON if not name_of(p).startswith("tests/")], ids=name_of
)
def test_public_names_have_docstrings(path: Path) -> None:
    """Every module, class, function and method that is public says what it promises."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    for owner in [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef))]:
        if isinstance(owner, ast.ClassDef) and owner.name.startswith("_"):
            continue
        for node in owner.body:
            kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            if isinstance(node, kinds) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_reconcilers_are_synchronous() -> None:
    """Decide, then do: no reconcile and no plan may wait."""
    for path in [*tracked("master/controllers/*.py"), *tracked("node/kubelet/pod/planner.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef):
                assert node.name not in ("reconcile", "plan", "keys"), f"{path}: {node.name}"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "LICENSE",
        "docs/architecture.md",
        "docs/nomenclature.md",
        "docs/adding-a-kind.md",
        "docs/roadmap.md",
        "docs/operating.md",
        "docs/threat-model.md",
    ],
)
def test_page_is_there(page: str) -> None:
    """The pages that README and the code refer to exist."""
    assert (ROOT / page).stat().st_size > 500


@pytest.mark.parametrize("page", tracked("*.md"), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """What a page links to in the repository is there, and so are the files that it names."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:docs|deploy|tests)/[\w./-]+\.\w+)`", text):
        assert (ROOT / name).exists() or name in MADE_BY_READERS, name


MADE_BY_READERS = frozenset({"tests/unit/controllers/test_welcome.py"})


def test_random_examples_are_the_same_in_every_run() -> None:
    """What a seed of chance finds must not make another's change red."""
    if settings.get_current_profile_name() != "long":
        assert settings().derandomize


@pytest.mark.parametrize("path", [p for p in PYTHON if "tests" in p.parts], ids=name_of)
def test_nothing_else_in_the_tests_is_random(path: Path) -> None:
    """A Random has a seed, and the number of examples grows in the long run."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            if isinstance(of, ast.Name) and of.id == "random":
                assert node.func.attr == "Random", f"line {node.lineno}"
                assert node.args, f"line {node.lineno}: without a seed"
        if isinstance(node, ast.keyword) and node.arg == "max_examples":
            assert not isinstance(node.value, ast.Constant) or path.name == "conftest.py"
