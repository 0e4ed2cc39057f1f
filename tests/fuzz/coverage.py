"""One pure target under atheris: `python -m tests.fuzz.coverage TARGET [libFuzzer's options]`.

Needs `pip install atheris`, which has wheels for some versions of Python only.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Instrument, import, and look for inputs that reach new code until told to stop."""
    atheris = importlib.import_module("atheris")
    name = sys.argv.pop(1)
    with atheris.instrument_imports(
        include=["common.api", "master.apiserver", "node.kubelet.streams.logs"]
    ):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    atheris.Setup(sys.argv, targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
