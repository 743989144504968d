"""What the machine can do, measured now: multiply-adds per second and bytes read per second.

Both with loops generated here, so that they share code generator and moment with what is compared
to them. Not for a data sheet: a busy or throttled machine gives what is left of it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm
import numpy as np

from iree_backend_llvm.target import cpu_model, host_target

_CHAINS = 12  # two per cycle with a latency of at most six, and they fit into 16 registers
_ROUNDS = 20
_BUFFER = 256 << 20


def peak_flops(threads: int) -> float:
    """Return the float32 operations per second of multiply-adds that stay in registers."""
    lanes = cpu_model(host_target()).lanes(32)
    vector = f"<{lanes} x float>"
    phis = [f"%a{n} = phi {vector} [ %x, %entry ], [ %b{n}, %loop ]" for n in range(_CHAINS)]
    steps = [
        f"%b{n} = call {vector} @llvm.fma.v{lanes}f32({vector} %a{n}, {vector} %x, {vector} %y)"
        for n in range(_CHAINS)
    ]
    sums = [f"%s{n + 1} = fadd {vector} %s{n}, %b{n}" for n in range(_CHAINS)]
    text = _loop(
        vector, "  ".join(f"{line}\n" for line in [*phis, *steps]), sums,
        f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})",
    )  # fmt: skip
    count = 500_000
    seconds = _best(text, [np.full(64, 0.5, np.float32)] * threads, count)
    return 2.0 * lanes * _CHAINS * count * threads / seconds


def read_bandwidth(threads: int) -> float:
    """Return the bytes per second that are read from memory beyond the caches, in order."""
    lanes = cpu_model(host_target()).lanes(32)
    vector, width, ways = f"<{lanes} x float>", 4 * lanes, 4
    phis = [f"%a{n} = phi {vector} [ %x, %entry ], [ %b{n}, %loop ]" for n in range(ways)]
    steps = []
    for n in range(ways):
        steps += [
            f"%o{n} = add i64 %offset, {n * width}",
            f"%p{n} = getelementptr i8, ptr %data, i64 %o{n}",
            f"%v{n} = load {vector}, ptr %p{n}, align 4",
            f"%b{n} = fadd {vector} %a{n}, %v{n}",
        ]
    offset = [f"%offset = mul i64 %i, {ways * width}"]
    sums = [f"%s{n + 1} = fadd {vector} %s{n}, %b{n}" for n in range(ways)]
    text = _loop(vector, "".join(f"  {line}\n" for line in [*phis, *offset, *steps]), sums, "")
    data = np.zeros(_BUFFER // 4, np.float32)
    parts = np.array_split(data, threads)
    count = min(part.nbytes for part in parts) // (ways * width)
    return count * ways * width * threads / _best(text, parts, count)


def _loop(vector: str, body: str, sums: list[str], declarations: str) -> str:
    """Return a function ``kernel(data, count)``: ``body`` repeated, then the sum of its values."""
    total = f"%s{len(sums)}"
    phis = [line for line in body.splitlines() if " phi " in line]
    rest = [line for line in body.splitlines() if " phi " not in line]
    return "\n".join(
        [
            declarations,
            "define void @kernel(ptr noalias %data, i64 %count) nounwind {",
            "entry:",
            f"  %x = load {vector}, ptr %data, align 4",
            f"  %y = load {vector}, ptr %data, align 4",
            "  br label %loop",
            "loop:",
            "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
            *phis,
            *rest,
            "  %next = add i64 %i, 1",
            "  %more = icmp ult i64 %next, %count",
            "  br i1 %more, label %loop, label %exit",
            "exit:",
            f"  %s0 = fadd {vector} %x, %y",
            *(f"  {line}" for line in sums),
            f"  store {vector} {total}, ptr %data, align 4",
            "  ret void",
            "}",
        ]
    )


def _best(text: str, buffers: list[np.ndarray], count: int) -> float:
    """Return the shortest time in which all threads have run the kernel on their buffers."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = host_target().machine()
    module = llvm.parse_assembly(text)
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(
        engine.get_function_address("kernel")
    )
    times = []
    with ThreadPoolExecutor(len(buffers)) as pool:
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            list(pool.map(_caller(kernel, count), [b.ctypes.data for b in buffers]))
            times.append(time.perf_counter() - start)
    return min(times)


def _caller(kernel: Callable[[int, int], None], count: int) -> Callable[[int], None]:
    return lambda address: kernel(address, count)
