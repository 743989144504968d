"""What threads do together, as intrinsics of LLVM: exchanges within a warp, barriers of a block."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.codegen.llvm_dialect import DESCRIPTOR
from iree_core.errors import CompileError
from iree_core.ir import arith, ir, vector

_EVERYONE, _CLAMP = -1, 31


def lower_cooperation(module: ir.Module) -> None:
    """Replace ``gpu.shuffle`` and ``gpu.barrier`` in ``module``.

    Raises:
        CompileError: another exchange than by exclusive or over a whole warp.
    """
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name in ("gpu.shuffle", "gpu.barrier"):
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for op in found:
        with ir.InsertionPoint(op), op.location:
            if op.name == "gpu.barrier":
                barrier()
            else:
                _lower_shuffle(op)
        op.erase()


def _lower_shuffle(op: ir.Operation) -> None:
    value, distance, _ = op.operands
    if "xor" not in str(op.attributes["mode"]) or [*op.results[1].uses]:
        raise CompileError(f"The CUDA backend has no {op.attributes['mode']}.")
    op.results[0].replace_all_uses_with(_exchange(value, distance))


def _exchange(value: ir.Value, distance: ir.Value) -> ir.Value:
    """Return the value of the thread of the warp whose number differs by exclusive or."""
    kind, word = value.type, ir.IntegerType.get_signless(32)
    if kind.width == 64:
        pair = ir.VectorType.get([2], word)
        halves = vector.BitCastOp(pair, _as_vector(value)).result
        moved = [_exchange(vector.ExtractOp(halves, [], [n]).result, distance) for n in range(2)]
        both = vector.FromElementsOp(pair, moved).result
        whole = vector.BitCastOp(ir.VectorType.get([1], kind), both).result
        return vector.ExtractOp(whole, [], [0]).result
    name = "f32" if isinstance(kind, ir.FloatType) else "i32"
    operands = [i32(_EVERYONE), value, distance, i32(_CLAMP)]
    return intrinsic(f"llvm.nvvm.shfl.sync.bfly.{name}", [kind], operands)[0]


def _as_vector(value: ir.Value) -> ir.Value:
    return vector.FromElementsOp(ir.VectorType.get([1], value.type), [value]).result


def i32(number: int) -> ir.Value:
    """Return a constant."""
    word = ir.IntegerType.get_signless(32)
    return arith.ConstantOp(word, ir.IntegerAttr.get(word, number)).result


def barrier() -> None:
    """Let the threads of the block wait for each other; then they see what each has written."""
    intrinsic("llvm.nvvm.barrier.cta.sync.aligned.all", [], [i32(0)])


def warp_barrier() -> None:
    """Let the threads of the warp wait for each other."""
    intrinsic("llvm.nvvm.bar.warp.sync", [], [i32(_EVERYONE)])


def intrinsic(name: str, kinds: Sequence[ir.Type], operands: Sequence[ir.Value]) -> list[ir.Value]:
    """Emit a call of one of LLVM's intrinsics; return its results."""
    results = list(kinds)
    if len(kinds) > 1:
        results = [ir.Type.parse(f"!llvm.struct<({', '.join(map(str, kinds))})>")]
    made = ir.Operation.create(
        "llvm.call_intrinsic", results, list(operands),
        {
            "intrin": ir.StringAttr.get(name),
            "op_bundle_sizes": ir.DenseI32ArrayAttr.get([]),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(operands), 0]),
        },
    )  # fmt: skip
    if len(kinds) < 2:
        return list(made.results)
    return [
        operation("llvm.extractvalue", kind, [made.result], position=ir.DenseI64ArrayAttr.get([n]))
        for n, kind in enumerate(kinds)
    ]


def operation(
    name: str, kind: ir.Type, operands: Sequence[ir.Value], **attributes: ir.Attribute
) -> ir.Value:
    """Emit an operation with one result."""
    return ir.Operation.create(name, [kind], list(operands), attributes).result


def element_pointer(memory: ir.Value, offset: ir.Value) -> ir.Value:
    """Return the address in global memory of an element of a kernel's buffer."""
    word = ir.IntegerType.get_signless(64)
    generic, space = ir.Type.parse("!llvm.ptr"), ir.Type.parse("!llvm.ptr<1>")
    whole = operation("builtin.unrealized_conversion_cast", ir.Type.parse(DESCRIPTOR), [memory])
    position = ir.DenseI64ArrayAttr.get([1])
    start = operation("llvm.extractvalue", generic, [whole], position=position)
    number = arith.IndexCastOp(word, offset).result
    address = operation(
        "llvm.getelementptr", generic, [start, number],
        elem_type=ir.TypeAttr.get(memory.type.element_type),
        rawConstantIndices=ir.DenseI32ArrayAttr.get([-(1 << 31)]),
    )  # fmt: skip
    return operation("llvm.addrspacecast", space, [address])


def copy_bytes(target: ir.Value, source: ir.Value, given: ir.Value, nbytes: int) -> None:
    """Copy ``given`` bytes from global to shared memory, and zeros up to ``nbytes`` (16 or 4).

    The copy is under way until :func:`finish_copies`; both addresses are multiples of ``nbytes``.
    Whole groups are not kept in the first-level cache: nothing else in them is needed.
    """
    kept = "cg" if nbytes == 16 else "ca"
    name = f"llvm.nvvm.cp.async.{kept}.shared.global.{nbytes}.s"
    intrinsic(name, [], [target, source, given])


def finish_copies(later: int | None) -> None:
    """End a group of copies of this thread (None), or wait for all but the ``later`` last."""
    if later is None:
        intrinsic("llvm.nvvm.cp.async.commit.group", [], [])
    else:
        intrinsic("llvm.nvvm.cp.async.wait.group", [], [i32(later)])
