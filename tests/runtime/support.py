"""Builds small modules from C kernels, so that the runtime is tested without the compiler."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from iree_backend_llvm.image import pack_image
from iree_backend_llvm.link import link
from iree_core import dtypes
from iree_core.interfaces import Executable
from iree_core.modulefile import DataSection
from iree_core.modulefile.writer import VariantSource, write_module
from iree_core.params import ParameterStore
from iree_core.vm.program import (
    Binding,
    CommandList,
    Copy,
    Dispatch,
    Function,
    Global,
    Instruction,
    Operand,
    Program,
    TensorType,
)

KERNELS = Path(__file__).with_name("kernels.c")
# Entry points of kernels.c by number.
ADD, ADD_ONE, SCRATCH_SUM, SINE, WHERE = range(5)
_NAMES = ("add", "add_one", "scratch_sum", "sine", "where")


@cache
def executable(features: tuple[str, ...] = (), arch: str | None = None) -> Executable:
    """Compile and link ``kernels.c`` for this machine; ``features`` and ``arch`` are claims."""
    with TemporaryDirectory() as folder:
        target = Path(folder) / "kernels.o"
        flags = ["-O2", "-fPIC", "-fno-asynchronous-unwind-tables", "-fno-builtin"]
        subprocess.run(["cc", "-c", *flags, str(KERNELS), "-o", str(target)], check=True)
        linked = link([(target.read_bytes(), name) for name in _NAMES])
    image = pack_image(
        linked.code,
        arch=arch or linked.arch,
        features=features,
        imports=linked.imports,
        import_offset=linked.import_offset,
    )
    entries = tuple(zip(_NAMES, linked.entries, strict=True))
    return Executable(f"native-{arch or linked.arch}", linked.arch, image, entries)


def imm(value: int) -> Operand:
    """Return an operand known when the list is recorded."""
    return ("imm", value)


def param(position: int) -> Operand:
    """Return an operand given at execution."""
    return ("param", position)


def whole(slot: int) -> Binding:
    """Return a binding of a buffer from its start."""
    return Binding(slot, imm(0))


def tensor(name: str, *shape: int | str, dtype: str = "f32") -> TensorType:
    """Return a tensor type."""
    return TensorType(dtype, shape, name)


def code(text: str) -> list[Instruction]:
    """Parse instructions, one per line: ``op i0 3 (b0 b1) 'text' 1.5``, labels as numbers."""
    instructions = []
    for line in filter(None, map(str.strip, text.splitlines())):
        op, *words = line.replace("(", " ( ").replace(")", " ) ").split()
        args: list = []
        group: list | None = None
        for word in words:
            if word == "(":
                group = []
            elif word == ")":
                args.append(tuple(group or ()))
                group = None
            else:
                (args if group is None else group).append(_operand(word))
        instructions.append(Instruction(op, tuple(args)))
    return instructions


def _operand(word: str) -> int | float | str:
    if word.startswith("'"):
        return word.strip("'").replace("_", " ")
    if word[0] in "ifb" and word[1:].isdigit():
        return int(word[1:])
    return float(word) if "." in word else int(word)


def add_program(count: int = 4, grain: int = 1) -> Program:
    """Return the program of ``main(x, y) = x + y`` on ``count`` floats."""
    commands = CommandList(
        (Dispatch(ADD, (whole(0), whole(1), whole(2)), (), imm(count), imm(0), grain),), 3, 0
    )
    body = code(
        f"""
        const i0 {4 * count}
        alloc b2 i0
        execute 0 (b0 b1 b2) ()
        const i1 0
        return (b2) (i1)
        """
    )
    types = (tensor("x", count), tensor("y", count))
    function = Function("main", types, (tensor("sum", count),), body, (2, 0, 3))
    return Program([function], [commands], [])


def dynamic_program() -> Program:
    """Return ``main(x[n], y[n]) = (x + y) + 1`` with the sum in an arena."""
    length = param(0)
    commands = CommandList(
        (
            Dispatch(ADD, (whole(0), whole(1), whole(2)), (), length, imm(0), 64),
            Dispatch(ADD_ONE, (whole(2), whole(3)), (length,), length, imm(0), 64),
        ),
        4,
        1,
    )
    body = code(
        """
        const i1 4
        mul i2 i0 i1
        arena b2 i2
        alloc b3 i2
        execute 0 (b0 b1 b2 b3) (i0)
        const i3 0
        return (b3) (i3)
        """
    )
    types = (tensor("x", "n"), tensor("y", "n"))
    function = Function("main", types, (tensor("out", "n"),), body, (4, 0, 4))
    return Program([function], [commands], [])


def state_program() -> Program:
    """Return ``main() -> total``: adds a constant of 4 floats to state and returns the state.

    The constant is the module's data at offset 0; ``count`` calls are counted in ``calls``.
    """
    commands = CommandList(
        (Dispatch(ADD, (whole(0), whole(1), whole(2)), (), imm(4), imm(0)),), 3, 0
    )
    body = code(
        """
        const i0 16
        const i1 0
        get_global b0 0
        constants b1
        alloc b2 i0
        execute 0 (b0 b1 b2) ()
        set_global 0 b2
        get_global b3 1
        load i2 b3 i1 'i64'
        const i3 1
        add i2 i2 i3
        store i2 b3 i1 'i64'
        br_if i2 14
        br 14
        return (b2 b3) (i1 i1)
        """
    )
    outputs = (tensor("total", 4), tensor("calls", dtype="i64"))
    function = Function("main", (), outputs, body, (4, 0, 4))
    state = [Global("total", 16, None), Global("calls", 8, None)]
    return Program([function], [commands], state)


def copy_program(dtype: str, count: int) -> Program:
    """Return the program of ``main(x) = x`` with a copy, for any element type."""
    nbytes = count * dtypes.itemsize(dtype)
    commands = CommandList((Copy(whole(0), whole(1), imm(nbytes)),), 2, 0)
    body = code(
        f"""
        const i0 {nbytes}
        alloc b1 i0
        execute 0 (b0 b1) ()
        const i1 0
        return (b1) (i1)
        """
    )
    types = (tensor("x", count, dtype=dtype),)
    function = Function("main", types, (tensor("out", count, dtype=dtype),), body, (2, 0, 2))
    return Program([function], [commands], [])


def write(
    path: Path,
    program: Program,
    constants: Sequence[bytes] = (),
    *,
    code: Executable | None = None,
    **options: object,
) -> Path:
    """Write a module file with one variant and return its path."""
    data = DataSection(ParameterStore())
    for content in constants:
        data.add_bytes(content)
    variant = VariantSource("llvm-cpu", "host", program, code or executable())
    write_module(path, [variant], data, **options)  # type: ignore[arg-type]
    return path


def floats(*values: float) -> np.ndarray:
    """Return an array of 32-bit floats."""
    return np.array(values, np.float32)
