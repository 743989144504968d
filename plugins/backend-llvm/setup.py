"""Builds ``iree_backend_llvm/_native/libiree_local.so`` from ``native/*.c``.

It is a plain C11 shared library, loaded with ctypes: no Python headers, nothing beyond libc and
threads, so one wheel serves every Python of a platform.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Command, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.dist import Distribution

HERE = Path(__file__).resolve().parent
PACKAGE = Path("iree_backend_llvm")
FLAGS = ["-O3", "-std=c11", "-pthread", "-shared", "-fPIC", "-Wall"]


class BuildNative(Command):
    """Compile the C sources into the build folder, or in place for an editable install."""

    description = "build the C library"
    user_options: list[tuple[str, str | None, str]] = []

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        root = HERE / "src" if self.editable_mode else Path(str(self.build_lib))
        library = root / PACKAGE / "_native" / "libiree_local.so"
        library.parent.mkdir(parents=True, exist_ok=True)
        partial = library.with_suffix(f".{os.getpid()}")
        command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, *self.get_source_files()]
        command += ["-o", str(partial), "-lm"]
        print(" ".join(command), file=sys.stderr)
        subprocess.run(command, check=True, cwd=HERE)
        partial.replace(library)

    def get_source_files(self) -> list[str]:
        """Return the C files, relative to this one."""
        files = sorted((HERE / "src" / PACKAGE / "native").glob("*.c"))
        return [str(file.relative_to(HERE)) for file in files]

    def get_outputs(self) -> list[str]:
        """Return what a wheel must contain."""
        return [str(Path(str(self.build_lib)) / PACKAGE / "_native" / "libiree_local.so")]

    def get_output_mapping(self) -> dict[str, str]:
        """Return nothing: no source file is copied to an output."""
        return {}


class Build(build):
    """The standard build, with the C library after the Python files."""

    sub_commands = [*build.sub_commands, ("build_native", None)]


class PlatformWheel(bdist_wheel):
    """Tag the wheel for the platform but for any Python 3."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    """Holds machine code although it has no Python extension module."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    cmdclass={"build": Build, "build_native": BuildNative, "bdist_wheel": PlatformWheel},
    distclass=BinaryDistribution,
)
