"""docs/adding-a-controller.md, followed literally in a copy of the source tree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/adding-a-controller.md"


def test_the_page_works(tmp_path: Path) -> None:
    """The controller and its test run, and no other test of controllers minds the new one."""
    for room in (
        "protos",
        "common",
        "master",
        "tests/unit/controllers",
        "tests/fakes",
        "tests/servers",
    ):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, tmp_path / room, ignore=ignored)
    for file in ("setup.cfg", "tests/__init__.py", "tests/unit/__init__.py", "tests/conftest.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    shutil.copy(ROOT / "tests/examples.py", tmp_path / "tests/examples.py")
    controller, test = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "master/controllers/welcome.py").write_text(controller)
    (tmp_path / "tests/unit/controllers/test_welcome.py").write_text(test)
    for name, line in zip(
        ("own.tsv", "ownbindings.tsv"),
        re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL),
        strict=True,
    ):
        with (tmp_path / "master/apiserver/auth/policy" / name).open("a") as file:
            file.write(line)
    registry = tmp_path / "master/controllers/registry.py"
    text = registry.read_text()
    for before, line in (
        ("\n\n@dataclass", "from master.controllers.welcome import WelcomeController\n"),
        ("    ]\n", "        WelcomeController(),\n"),
    ):
        assert before in text
        text = text.replace(before, line + before, 1)
    registry.write_text(text)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            "tests/unit/controllers/test_welcome.py",
            "tests/unit/controllers/test_namespaces.py",
        ],
        cwd=tmp_path,
        env={"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
