"""Kernels for the tests of the CPU backend, and how to run one on this machine."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iree_backend_llvm.backend import LlvmCpuBackend
from iree_backend_llvm.loader import NativeExecutable
from iree_core.codegen.kernel import CompiledDispatch, Kernel
from iree_core.expr import Expr, const
from iree_core.interfaces import Target

ENTRY = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)
BACKEND = LlvmCpuBackend()


def make_kernel(text: str, *, grid: Expr | None = None, scratch: int = 0) -> Kernel:
    """Wrap MLIR text whose function is called ``kernel``."""
    return Kernel(text, "kernel", grid or const(1), const(scratch), 1, "test")


def run(
    compiled: CompiledDispatch,
    target: Target,
    arrays: Sequence[NDArray],
    scalars: Sequence[int] = (),
    work: tuple[int, int] | None = None,
) -> None:
    """Link, map and call one dispatch; the last arrays are its outputs."""
    executable = BACKEND.link([compiled], target)
    native = NativeExecutable(memoryview(executable.data), executable.entries)
    kernel = compiled.kernel
    begin, end = work or (0, kernel.grid.evaluate(scalars))
    bindings = (ctypes.c_void_p * max(1, len(arrays)))(*(a.ctypes.data for a in arrays))
    numbers = (ctypes.c_int64 * max(1, len(scalars)))(*scalars)
    scratch = np.zeros(kernel.scratch.evaluate(scalars) + 64, np.uint8)
    aligned = scratch.ctypes.data + -scratch.ctypes.data % 64
    ENTRY(native.addresses[0])(
        ctypes.addressof(bindings), ctypes.addressof(numbers), aligned, begin, end
    )


def run_text(
    text: str,
    arrays: Sequence[NDArray],
    scalars: Sequence[int] = (),
    work: tuple[int, int] | None = None,
    *,
    target: str = "",
    scratch: int = 0,
) -> None:
    """Compile and run the kernel in ``text``."""
    resolved = BACKEND.resolve(target)
    compiled = BACKEND.compile_kernel(make_kernel(text, scratch=scratch), resolved)
    run(compiled, resolved, arrays, scalars, work)


def run_general(text: str, arrays: Sequence[NDArray], scalars: Sequence[int] = ()) -> Kernel:
    """Compile a dispatch with the schedule of last resort and run it."""
    target = BACKEND.resolve("")
    compiled = BACKEND.compile(text, target, strategy="general")
    run(compiled, target, arrays, scalars)
    return compiled.kernel


def elementwise(operation: str, operands: int = 1, *, lanes: int = 16, kind: str = "f32") -> str:
    """Return a kernel that applies one operation, ``lanes`` elements at a time."""
    shape = f"vector<{lanes}x{kind}>" if lanes > 1 else kind
    memory = f"memref<?x{kind}>"
    inputs = "".join(f"%a{i}: {memory}, " for i in range(operands))
    if lanes > 1:
        loads = [f"%v{i} = vector.load %a{i}[%i] : {memory}, {shape}" for i in range(operands)]
        store = f"vector.store %r, %o[%i] : {memory}, {shape}"
    else:
        loads = [f"%v{i} = memref.load %a{i}[%i] : {memory}" for i in range(operands)]
        store = f"memref.store %r, %o[%i] : {memory}"
    values = ", ".join(f"%v{i}" for i in range(operands))
    body = "\n".join([*loads, f"%r = {operation} {values} : {shape}", store])
    return f"""
    func.func @kernel({inputs}%o: {memory}, %begin: index, %end: index) {{
      %step = arith.constant {lanes} : index
      scf.for %i = %begin to %end step %step {{
        {body}
      }}
      return
    }}"""
