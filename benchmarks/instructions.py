"""Counts the instructions of the inner loops that the compiler generates; nothing is run.

    python benchmarks/instructions.py [--kernels attention,softmax] [--targets aarch64] [--all]

Representative small models are compiled for fixed processors, not for the host, so that the
counts depend on the compiler alone and not on the machine or on what else runs there. Per
innermost loop: instructions, fused multiply-adds and dot products, loads, stores, spills, and
the part of the multiply-add peak that a simple core could reach (see :meth:`Loop.peak`). The
deepest loop of each kernel is shown, with ``--all`` every one; recorded counts are compared by
``tests/llvm/test_generated_code.py``.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from iree_backend_llvm.backend import LlvmCpuBackend
from iree_backend_llvm.target import cpu_model, parse_target
from iree_core.codegen import build_kernel, llvmir
from iree_core.compile_worker import import_model, run_phases
from iree_core.compiler_service import CompileRequest
from iree_core.ir import func
from iree_core.passes.state import CompilationState, CompileOptions
from iree_core.phases import selected
from iree_core.plugins import installed

TARGETS = {
    "x86-64-v4": "x86_64,cpu=x86-64-v4,features=+avx512bf16,+avx512vnni",
    "x86-64-v3": "x86_64,cpu=x86-64-v3",
    "aarch64": "aarch64,features=+dotprod",
}
Arrays = Mapping[str, np.ndarray]


def _values(*shape: int, dtype: type = np.float32) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return (rng.standard_normal(shape, np.float32) / 16).astype(dtype)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, ...]],
    constants: Arrays,
    kind: type = np.float32,
) -> onnx.ModelProto:
    """Return a model with the result ``y``; all its inputs have the type ``kind``."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    result = onnx.TensorProto.INT32 if np.issubdtype(kind, np.integer) else element
    graph = helper.make_graph(
        nodes, "kernel",
        [helper.make_tensor_value_info(n, element, shape) for n, shape in inputs.items()],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _product(rows: int, inner: int, columns: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["s"]),
        helper.make_node("Gelu", ["s"], ["y"]),
    ]
    constants = {"w": _values(inner, columns), "b": _values(columns)}
    return _model(nodes, {"x": (rows, inner)}, constants)


def _low_precision(op: str, dtype: type, right: type) -> onnx.ModelProto:
    node = helper.make_node(op, ["x", "w"], ["y"])
    return _model([node], {"x": (128, 768)}, {"w": _values(768, 768, dtype=right)}, dtype)


def _convolution(channels: int, size: int, out: int, window: int, group: int) -> onnx.ModelProto:
    pads, weights = [window // 2] * 4, _values(out, channels // group, window, window)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=pads, group=group),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    return _model(nodes, {"x": (1, channels, size, size)}, {"w": weights, "b": _values(out)})


def _attention() -> onnx.ModelProto:
    shape = (1, 12, 128, 64)
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["p"]),
        helper.make_node("Mul", ["p", "scale"], ["s"]),
        helper.make_node("Softmax", ["s"], ["a"], axis=-1),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
    ]
    return _model(nodes, dict.fromkeys("qkv", shape), {"scale": np.array(0.125, np.float32)})


def _layer_norm() -> onnx.ModelProto:
    node = helper.make_node("LayerNormalization", ["x", "g", "b"], ["y"], axis=-1)
    return _model([node], {"x": (128, 768)}, {"g": _values(768), "b": _values(768)})


def _chain() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["x", "z"], ["p"]),
        helper.make_node("Sigmoid", ["p"], ["g"]),
        helper.make_node("Mul", ["g", "p"], ["s"]),
        helper.make_node("Add", ["s", "x"], ["y"]),
    ]
    return _model(nodes, dict.fromkeys("xz", (256, 1024)), {})


def _single(op: str, shape: tuple[int, ...], **attributes: object) -> onnx.ModelProto:
    return _model([helper.make_node(op, ["x"], ["y"], **attributes)], {"x": shape}, {})


KERNELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "matmul-bias-gelu": lambda: _product(128, 768, 3072),
    "matmul-long-k": lambda: _product(128, 8192, 256),
    "matvec": lambda: _product(1, 2048, 2048),
    "matmul-int8": lambda: _low_precision("MatMulInteger", np.uint8, np.int8),
    "matmul-bf16": lambda: _low_precision("MatMul", ml_dtypes.bfloat16, ml_dtypes.bfloat16),
    "conv-3x3": lambda: _convolution(64, 56, 64, 3, 1),
    "conv-1x1": lambda: _convolution(256, 28, 512, 1, 1),
    "conv-depthwise": lambda: _convolution(96, 56, 96, 3, 96),
    "attention": _attention,
    "softmax": lambda: _single("Softmax", (512, 1000), axis=-1),
    "layer-norm": _layer_norm,
    "elementwise-chain": _chain,
    "transposition": lambda: _single("Transpose", (512, 384), perm=[1, 0]),
}
"""The representative kernels, as functions that make an ONNX model."""


@dataclass(frozen=True)
class Loop:
    """What one innermost loop consists of.

    Attributes:
        depth: 1 for a loop in no other.
        instructions: all of them.
        products: fused multiply-adds and dot products, of vectors or scalars.
        loads, stores: accesses of memory, those folded into other instructions included.
        spills: those of them that save or restore a register.
        vectors: ``products`` counted in full vector registers.
        chain: products that wait for one another in a round: the most that add to one register.
    """

    depth: int
    instructions: int
    products: int
    loads: int
    stores: int
    spills: int
    vectors: float = 0.0
    chain: int = 0

    @property
    def cost(self) -> float:
        """Instructions per product, or per access of memory where there are no products."""
        return self.instructions / max(1, self.products or self.loads + self.stores)

    @property
    def peak(self) -> float:
        """Estimate the part of the multiply-add peak that a core reaches in this loop.

        The core is that of Skylake-SP, the first x86-64-v4: per cycle two products of vectors,
        two loads, one store and four instructions; a product takes four cycles. Caches hold
        everything.
        """
        cycles = max(
            self.products / 2, self.loads / 2, self.stores, self.instructions / 4, 4 * self.chain
        )
        return self.vectors / 2 / cycles


@dataclass
class _Body:
    """The instructions of one loop, as they are read."""

    depth: int
    innermost: bool
    lines: list[tuple[str, str, str]] = field(default_factory=list)


_LABEL = re.compile(r"^\.?L?(BB\d+_\d+):|^(?:#|//) %bb\.")
_HEADER = re.compile(r"=>\s*This (Inner )?Loop Header: Depth=(\d+)")
_MEMBER = re.compile(r"in Loop: Header=(BB\d+_\d+)")
_INSTRUCTION = re.compile(r"^\t(?:\{\w+\} )?([a-z][\w.]*)(?:\t([^#]*?))?\s*(?:(?:#|//)(.*))?$")
_X86_PRODUCT = re.compile(r"^(vfn?m(add|sub)\d|vpdp|vdpbf16)")
_ARM_PRODUCT = re.compile(r"^(fn?m(la|ls|add|sub)|[usb]+f?dot|[usb]f?m(mla|lal[bt]?))$|^bfdot$")
_REGISTER_BYTES = {"zmm": 64, "ymm": 32, "xmm": 16}


def loops(assembly: str) -> list[Loop]:
    """Return the innermost loops of an assembly listing, the deepest and largest first.

    LLVM's comments tell which block belongs to which loop and which accesses are spills.
    """
    bodies: dict[str, _Body] = {}
    current, label = "", ""
    for line in assembly.splitlines():
        found = _LABEL.match(line)
        if found:
            label, current = found.group(1) or "", ""
        if header := _HEADER.search(line):
            current = label
            bodies[label] = _Body(int(header.group(2)), bool(header.group(1)))
        elif member := _MEMBER.search(line):
            current = member.group(1)
        if not found and current in bodies and (part := _INSTRUCTION.match(line)):
            bodies[current].lines.append((part[1], part[2] or "", part[3] or ""))
    x86 = "%rsp" in assembly or "%rdi" in assembly
    registers = [n for r, n in _REGISTER_BYTES.items() if f"%{r}" in assembly]
    full = max(registers, default=16)
    counted = [_count(body, x86, full) for body in bodies.values() if body.innermost]
    return sorted(counted, key=lambda x: (-x.depth, -x.vectors, -x.products, -x.loads - x.stores))


def _count(body: _Body, x86: bool, full: int) -> Loop:
    """Return the counts of one loop's instructions."""
    pattern = _X86_PRODUCT if x86 else _ARM_PRODUCT
    totals: Counter[str] = Counter()
    adding: Counter[str] = Counter()
    overwritten: set[str] = set()
    vectors = 0.0
    for name, operands, comment in body.lines:
        target = operands.rpartition(" ")[2] if x86 else operands.partition(",")[0]
        if pattern.match(name):
            totals["products"] += 1
            vectors += _width(name, operands) / full
            adding[target] += 1
        else:
            overwritten.add(target)
        kind = _access(name, operands, x86)
        totals[kind] += 1
        totals["spills"] += "Spill" in comment or "Reload" in comment
    chain = max((n for r, n in adding.items() if r not in overwritten), default=0)
    return Loop(
        body.depth, len(body.lines), totals["products"], totals["load"], totals["store"],
        totals["spills"], round(vectors, 3), chain,
    )  # fmt: skip


def _width(name: str, operands: str) -> int:
    """Return the bytes of the vectors that a product is of, 4 for a scalar."""
    if re.match(r"vf.*s[sd]$", name):
        return 4
    sizes = [n for r, n in _REGISTER_BYTES.items() if f"%{r}" in operands]
    if sizes:
        return max(sizes)
    return 16 if re.search(r"\bv\d+\.|\bq\d+", operands) else 4


def _access(name: str, operands: str, x86: bool) -> str:
    """Return ``load``, ``store`` or nothing."""
    if not x86:
        return {"ld": "load", "st": "store"}.get(name[:2], "")
    if "(" not in operands or name.startswith(("lea", "prefetch", "nop")):
        return ""
    return "store" if re.search(r"\)(\s*\{%k\d\})?$", operands) else "load"


def dispatches(model: onnx.ModelProto, target: str) -> Iterator[str]:
    """Yield the text of each different dispatch that ``model`` becomes for ``llvm-cpu:target``."""
    backend, plugins = LlvmCpuBackend(), installed()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.onnx"
        onnx.save(model, path)
        options = CompileOptions(compile_to="scheduling", threads=1)
        out = Path(folder) / "kernel.mlir"
        request = CompileRequest(path, "onnx", {}, None, options, out, Path(folder))
        imported = import_model(request, "onnx", plugins, lambda _: None)
        state = CompilationState(
            imported.parameters, backend.resolve(target), backend, options=options
        )
        run_phases(imported.module, state, selected(None, "dispatch-creation"), plugins)
    texts: set[str] = set()
    for op in imported.module.body.operations:
        if isinstance(op, func.FuncOp) and "flow.dispatch" in op.attributes:
            text = op.operation.get_asm(use_local_scope=True)
            anonymous = text.replace(f"@{op.sym_name.value}(", "@kernel(", 1)
            if anonymous not in texts:
                texts.add(anonymous)
                yield anonymous


def assembly(dispatch: str, target: str) -> str:
    """Return the commented assembly of one dispatch.

    Raises:
        NotScheduled: no schedule takes it.
    """
    cpu, backend = parse_target(target), LlvmCpuBackend()
    machine = cpu.machine()
    machine.set_asm_verbosity(True)
    text = backend.lower(build_kernel(dispatch, cpu_model(cpu)), backend.resolve(target))
    return llvmir.emit_assembly(text, machine, abi=cpu.abi)


def measure(kernel: str, target: str) -> list[list[Loop]]:
    """Return the innermost loops of each dispatch of a kernel of :data:`KERNELS`."""
    spec = TARGETS[target]
    return [loops(assembly(text, spec)) for text in dispatches(KERNELS[kernel](), spec)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", default=",".join(KERNELS))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--all", action="store_true", help="every loop, not only the deepest")
    options = parser.parse_args()
    print(
        f"{'target':11}{'kernel':20}{'dispatch':>9}{'depth':>6}{'instr':>7}{'FMAs':>6}{'loads':>7}"
        f"{'stores':>7}{'spills':>7}{'instr/FMA':>10}{'of peak':>9}"
    )
    for target in options.targets.split(","):
        for kernel in options.kernels.split(","):
            for number, found in enumerate(measure(kernel, target)):
                for loop in found if options.all else found[:1]:
                    ratio = f"{loop.cost:10.2f}{loop.peak:9.0%}" if loop.products else ""
                    print(
                        f"{target:11}{kernel:20}{number:9}{loop.depth:6}{loop.instructions:7}"
                        f"{loop.products:6}{loop.loads:7}{loop.stores:7}{loop.spills:7}{ratio}"
                    )


if __name__ == "__main__":
    main()
