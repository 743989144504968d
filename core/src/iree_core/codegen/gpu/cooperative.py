"""What invocations do together: workgroup memory, barriers, exchanges within a subgroup, matrices.

Subgroups are runs of consecutive invocations of a workgroup; a backend sets
:attr:`iree_core.codegen.gpu.kernel.GpuModel.subgroup` where that holds.
"""

from __future__ import annotations

from iree_core.codegen.builder import KernelBuilder, Scalar
from iree_core.codegen.gpu.kernel import GpuModel
from iree_core.codegen.reduction import Combiner
from iree_core.ir import arith, ir, memref

_WORKGROUP = "#gpu.address_space<workgroup>"


def workgroup_memory(element: ir.Type, count: int) -> ir.Value:
    """Emit ``count`` elements that the invocations of a workgroup share; they start undefined."""
    block = ir.InsertionPoint.current.block
    module = block.owner.operation
    while module.name != "builtin.module":
        module = module.parent
    body = module.regions[0].blocks[0]
    name = f"workgroup_{sum(op.operation.name == 'memref.global' for op in body.operations)}"
    kind = ir.MemRefType.get([count], element, memory_space=ir.Attribute.parse(_WORKGROUP))
    with ir.InsertionPoint.at_block_begin(body):
        memref.GlobalOp(
            ir.StringAttr.get(name),
            ir.TypeAttr.get(kind),
            sym_visibility=ir.StringAttr.get("private"),
            initial_value=ir.UnitAttr.get(),
        )
    return memref.GetGlobalOp(kind, name).result


def barrier() -> None:
    """Emit what all invocations of a workgroup wait for each other at."""
    ir.Operation.create("gpu.barrier")


def reduce_subgroup(combiner: Combiner, value: ir.Value, gpu: GpuModel) -> ir.Value:
    """Emit the combination of a scalar over a subgroup; every invocation gets the result."""
    kind = value.type
    if combiner.kind == "add" and gpu.subgroup_sums and str(kind) in ("f32", "i32"):
        how = ir.Attribute.parse("#gpu<all_reduce_op add>")
        return ir.Operation.create(
            "gpu.subgroup_reduce", [kind], [value], {"op": how, "uniform": ir.UnitAttr.get()}
        ).result
    distance = gpu.subgroup // 2
    while distance:
        value = combiner.join(value, _exchange(value, distance, gpu.subgroup))
        distance //= 2
    return value


def reduce_workgroup(
    combiner: Combiner, value: ir.Value, local: ir.Value, count: int, builder: KernelBuilder
) -> ir.Value:
    """Emit the combination of a scalar over a workgroup; every invocation gets the result.

    Two steps, the second over about the square root of ``count``: a barrier costs more than a few
    reads. Nothing is assumed of subgroups.

    Args:
        combiner: how two values join.
        value: what this invocation has.
        local: its number.
        count: invocations of the workgroup, a power of two. All of them must come here.
        builder: where operations go.
    """
    kind = value.type
    memory = workgroup_memory(kind, count)
    few = 1 << (count.bit_length() // 2)

    def read(place: Scalar) -> ir.Value:
        return memref.LoadOp(memory, [builder.value(place)]).result

    def first() -> list[ir.Value]:
        total = read(local)
        for step in range(few, count, few):
            total = combiner.join(total, read(builder.add(local, step)))
        memref.StoreOp(total, memory, [local])
        return []

    memref.StoreOp(value, memory, [local])
    barrier()
    builder.select_branch(builder.compare("slt", local, few), [], first, list)
    barrier()
    total = read(0)
    for place in range(1, few):
        total = combiner.join(total, read(place))
    return total


def _exchange(value: ir.Value, distance: int, width: int) -> ir.Value:
    """Return the value of the invocation whose number differs in one bit."""
    kind, word = value.type, ir.IntegerType.get_signless(32)
    if kind.width >= 32:
        return _shuffle(value, distance, width)
    # Narrow types travel in words.
    bits = ir.IntegerType.get_signless(kind.width)
    raw = value if kind == bits else arith.BitcastOp(bits, value).result
    moved = _shuffle(arith.ExtUIOp(word, raw).result, distance, width)
    raw = arith.TruncIOp(bits, moved).result
    return raw if kind == bits else arith.BitcastOp(kind, raw).result


def _shuffle(value: ir.Value, distance: int, width: int) -> ir.Value:
    word, truth = ir.IntegerType.get_signless(32), ir.IntegerType.get_signless(1)
    numbers = [
        arith.ConstantOp(word, ir.IntegerAttr.get(word, n)).result for n in (distance, width)
    ]
    mode = ir.Attribute.parse("#gpu<shuffle_mode xor>")
    operation = ir.Operation.create(
        "gpu.shuffle", [value.type, truth], [value, *numbers], {"mode": mode}
    )
    return operation.results[0]


# Matrices that a subgroup holds together.


def matrix_type(side: int, element: ir.Type, role: str) -> ir.Type:
    """Return the type of a square matrix; ``role`` is ``AOp``, ``BOp`` or ``COp``."""
    return ir.Type.parse(f'!gpu.mma_matrix<{side}x{side}x{element}, "{role}">')


def fill_matrix(kind: ir.Type, value: ir.Value) -> ir.Value:
    """Emit a matrix whose elements are all equal."""
    return ir.Operation.create("gpu.subgroup_mma_constant_matrix", [kind], [value]).result


def load_matrix(kind: ir.Type, memory: ir.Value, place: ir.Value, lead: int) -> ir.Value:
    """Emit the load of a row-major matrix whose rows are ``lead`` elements apart."""
    return ir.Operation.create(
        "gpu.subgroup_mma_load_matrix", [kind], [memory, place], {"leadDimension": _index(lead)}
    ).result


def store_matrix(value: ir.Value, memory: ir.Value, place: ir.Value, lead: int) -> None:
    """Emit the store of a matrix."""
    ir.Operation.create(
        "gpu.subgroup_mma_store_matrix", [], [value, memory, place], {"leadDimension": _index(lead)}
    )


def multiply_add(a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Emit ``a @ b + c``."""
    return ir.Operation.create("gpu.subgroup_mma_compute", [c.type], [a, b, c]).result


def _index(number: int) -> ir.Attribute:
    return ir.IntegerAttr.get(ir.IndexType.get(), number)
