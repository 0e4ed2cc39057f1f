"""Generates protobuf stubs and Structs before anything is copied; all else is in setup.cfg."""

import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent


class BuildProtos(Command):
    """Runs protos.codegen in the source tree; for wheels, sdists and editable installs alike."""

    user_options: ClassVar[list[tuple[str, str | None, str | None]]] = []
    editable_mode = False

    def initialize_options(self) -> None:
        """Nothing to set."""

    def finalize_options(self) -> None:
        """Nothing to check."""

    def run(self) -> None:
        """Generate everything anew."""
        sys.path.insert(0, str(ROOT))
        try:
            from protos import codegen

            codegen.main(ROOT)
        finally:
            sys.path.remove(str(ROOT))


class Build(build):
    """The standard build with the generator in front, so that build_py sees its output."""

    sub_commands: ClassVar[list] = [("build_protos", None), *build.sub_commands]


setup(cmdclass={"build": Build, "build_protos": BuildProtos})
