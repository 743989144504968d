"""The frame every GPU kernel shares: its function, its operands and the work item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iree_core.codegen.builder import (
    Buffer,
    KernelBuilder,
    NotScheduled,
    Scalar,
    element_bits,
    storage_type,
)
from iree_core.codegen.dispatch import Dispatch, Size, as_expr, emit_size
from iree_core.codegen.evaluate import Evaluator
from iree_core.codegen.frame import MAY_ALIAS, may_alias
from iree_core.codegen.gpu.kernel import GpuKernel
from iree_core.expr import Expr, const
from iree_core.ir import func, ir, scf
from iree_core.layout import layout_of


@dataclass(frozen=True)
class GpuFrame:
    """What a schedule fills in.

    Attributes:
        evaluator: gives the value of any tensor of the dispatch.
        outputs: where each result goes.
        group, local: the workgroup, and the invocation's number in it.
        item: the invocation's number in the grid.
        workgroup: how many invocations a workgroup has.
    """

    builder: KernelBuilder
    evaluator: Evaluator
    outputs: list[Buffer]
    group: ir.Value
    local: ir.Value
    item: ir.Value
    workgroup: int


def make_gpu_kernel(
    dispatch: Dispatch,
    schedule: str,
    grid: Expr,
    fill: Callable[[GpuFrame], None],
    *,
    workgroup: int,
) -> GpuKernel:
    """Create the kernel function of ``dispatch`` and let ``fill`` emit the work of one invocation.

    Must run inside the MLIR context of the dispatch.

    Raises:
        NotScheduled: what was emitted is not valid.
    """
    name = "kernel"
    module = ir.Module.create()
    dynamic, index = ir.ShapedType.get_dynamic_size(), ir.IndexType.get()
    tensors = (*dispatch.tensors, *dispatch.results)
    kinds = [ir.MemRefType.get([dynamic], storage_type(t.type.element_type)) for t in tensors]
    kinds += [index] * (len(dispatch.scalars) + 2)
    location = dispatch.function.location
    with ir.InsertionPoint(module.body), location:
        function = func.FuncOp(name, ir.FunctionType.get(kinds, []))
        block = function.add_entry_block()
    function.attributes[MAY_ALIAS] = ir.DenseI64ArrayAttr.get(may_alias(dispatch.function))
    arguments = list(block.arguments)
    memories, scalars = arguments[: len(tensors)], arguments[len(tensors) : -2]
    group, local = arguments[-2:]
    sizes = (*dispatch.argument_sizes, *dispatch.result_sizes)
    with ir.InsertionPoint(block), location:
        builder = KernelBuilder()
        buffers = []
        for tensor, memory, dims in zip(tensors, memories, sizes, strict=True):
            shape: tuple[Scalar, ...] = tuple(emit_size(s, builder, scalars) for s in dims)
            kind = tensor.type
            buffers.append(Buffer(memory, kind.element_type, shape, layout_of(kind)))
        count = len(dispatch.tensors)
        evaluator = Evaluator(builder, dispatch, buffers[:count], scalars)
        item = builder.value(builder.add(builder.mul(group, workgroup), local))
        inside = builder.compare("slt", item, emit_size(grid, builder, scalars))
        branch = scf.IfOp(inside)
        with ir.InsertionPoint(branch.then_block):
            fill(GpuFrame(builder, evaluator, buffers[count:], group, local, item, workgroup))
            scf.YieldOp([])
        func.ReturnOp([])
    if not module.operation.verify():
        raise NotScheduled(f"the {schedule} schedule made invalid code")
    return GpuKernel(
        str(module),
        name,
        grid,
        const(0),
        1,
        schedule,
        workgroup=workgroup,
        scalars=len(scalars),
        results=len(dispatch.results),
        sizes=tuple(map(tensor_bytes, tensors, sizes)),
    )


def tensor_bytes(tensor: ir.Value, dims: tuple[Size, ...]) -> Expr:
    """Return the bytes of a tensor operand in memory."""
    layout = layout_of(tensor.type)
    if layout is not None:
        numbers = tuple(d for d in dims if isinstance(d, int))
        dims = layout.storage_shape(numbers)
    return product(dims) * (element_bits(tensor.type.element_type) // 8)


def product(sizes: tuple[Size, ...]) -> Expr:
    """Return the product of dimensions."""
    result = const(1)
    for size in sizes:
        result = result * as_expr(size)
    return result
