"""The command line loads what it needs for a verb, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from common.cli.main import FILES, verb_in


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ("get pods", "get"),
        ("--kubeconfig get apply -f x", "apply"),
        ("--kubeconfig=get apply", "apply"),
        ("--version", ""),
        ("--kubeconfig", ""),
        ("-h get", "get"),
    ],
)
def test_the_verb_is_found(words: str, verb: str) -> None:
    assert verb_in(words.split()) == verb


@pytest.mark.parametrize("verb", [*FILES, "completion"])
def test_each_verb_has_its_file(verb: str) -> None:
    code = "from common.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, verb, "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: wherry {verb} ")


def test_a_look_at_pods_loads_no_cryptography() -> None:
    code = (
        "import sys; from common.cli.main import main; sys.argv = ['wherry', 'get', 'pods']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.exit([n for n in ('cryptography', 'common.preflight') "
        "if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"KUBECONFIG": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "[]\n"
