"""Compiles MSL with a C++ compiler and the headers in ``shim/``, to run kernels on the CPU."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SHIM = Path(__file__).parent / "shim"
_FLAGS = ("-std=c++17 -O1 -march=native -ffp-contract=off -fno-strict-aliasing -w -fPIC").split()
_KERNEL = re.compile(
    r"\[\[kernel, max_total_threads_per_threadgroup\((\d+)\)\]\]\s*void (\w+)\((.*?)\n\) \{", re.S
)
_ARGUMENT = re.compile(r"\[\[(\w+)(?:\((\d+)\))?\]\]")
_SHARED = re.compile(r"^(\s*)threadgroup (\w+ \w+\[(\d+)\];)", re.M)
_TOGETHER = re.compile(r"_barrier\(|simd_|simdgroup_")
_INPUTS = {
    "threadgroup_position_in_grid": "group",
    "thread_position_in_threadgroup": "thread",
    "threadgroups_per_grid": "groups",
    "thread_index_in_simdgroup": "thread % shim::SIMD",
    "simdgroup_index_in_threadgroup": "thread / shim::SIMD",
}


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel.

    Attributes:
        threads: most threads of a threadgroup.
        buffers: numbers of the buffers it takes.
        run: runs all threadgroups: addresses of the buffers, how many threadgroups, threads each.
    """

    threads: int
    buffers: tuple[int, ...]
    run: Callable[[Sequence[int], int, int], None]


@cache
def compiler() -> str:
    """Return the C++ compiler's name."""
    found = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    assert found, "these tests need a C++ compiler (apt-get install g++)"
    return found


@cache
def _headers() -> Path:
    """Return a folder with the shim's headers, compiled beforehand where the compiler can."""
    folder = Path(tempfile.mkdtemp(prefix="metal-shim-"))
    for header in _SHIM.iterdir():
        shutil.copy(header, folder)
    library = folder / "metal_stdlib"
    command = [compiler(), *_FLAGS, "-x", "c++-header", str(library), "-o", f"{library}.gch"]
    subprocess.run(command, capture_output=True, timeout=300, check=True)
    return folder


@cache
def build(text: str) -> dict[str, Kernel]:
    """Compile one MSL source and return its kernels by name."""
    folder = Path(tempfile.gettempdir()) / "metal-on-cpu"
    folder.mkdir(exist_ok=True)
    name = folder / hashlib.sha256(text.encode()).hexdigest()[:24]
    source, library = name.with_suffix(".cpp"), name.with_suffix(".so")
    found = list(_KERNEL.finditer(text))
    assert found, f"no kernel in\n{text}"
    body = _SHARED.sub(r"\1static \2", text)
    parts = [
        "#include <metal_stdlib>",
        "namespace metal { namespace {",
        body.replace("#include <metal_stdlib>", ""),
        "} }",
        "#undef device\n#undef constant\n#undef thread\n#undef threadgroup",
        *(_driver(match, text) for match in found),
    ]
    source.write_text("\n".join(parts))
    command = [compiler(), *_FLAGS, "-shared", f"-I{_headers()}", str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stderr[:3000]}\n{text[:6000]}"
    loaded = ctypes.CDLL(str(library))
    return {match[2]: _kernel(match, loaded) for match in found}


def _driver(match: re.Match[str], text: str) -> str:
    """Return the C function that runs all threads of a kernel."""
    arguments = []
    for attribute, number in _ARGUMENT.findall(match[3]):
        if attribute == "buffer":
            arguments.append(f"shim::Pointer{{buffers[{number}]}}")
        else:
            arguments.append(_INPUTS[attribute])
    call = f"metal::{match[2]}({', '.join(arguments)});"
    loop = (
        f"shim::run_together(threads, [=](unsigned thread) {{ {call} }});"
        if _TOGETHER.search(text)
        else f"for (unsigned thread = 0; thread < threads; ++thread) {call}"
    )
    return (
        f'extern "C" void run_{match[2]}(void** buffers, unsigned groups, unsigned threads) {{\n'
        f"  for (unsigned group = 0; group < groups; ++group) {{ {loop} }}\n}}"
    )


def _kernel(match: re.Match[str], loaded: ctypes.CDLL) -> Kernel:
    numbers = tuple(int(n) for kind, n in _ARGUMENT.findall(match[3]) if kind == "buffer")
    function = getattr(loaded, f"run_{match[2]}")
    function.restype = None

    def run(addresses: Sequence[int], groups: int, threads: int) -> None:
        pointers = (ctypes.c_void_p * len(addresses))(*addresses)
        function(pointers, groups, threads)

    return Kernel(int(match[1]), numbers, run)


def threadgroup_bytes(text: str) -> int:
    """Return an upper bound of the threadgroup memory that a source declares."""
    return sum(4 * int(count) for *_, count in _SHARED.findall(text))
