"""The frame every kernel shares: its function, operands, work-item loop and cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from iree_core.codegen.builder import Buffer, KernelBuilder, NotScheduled, Scalar, storage_type
from iree_core.codegen.dispatch import Dispatch, emit_size
from iree_core.codegen.evaluate import Evaluator
from iree_core.codegen.kernel import Kernel
from iree_core.dialects import flow
from iree_core.expr import Expr, const
from iree_core.ir import func, ir
from iree_core.layout import layout_of

# Attribute of a kernel function: positions of the buffers that may overlap each other.
MAY_ALIAS = "kernel.may_alias"
# Elements of simple arithmetic that take about as long as waking another thread is worth.
_WORTH_A_THREAD = 48 * 1024


@dataclass(frozen=True)
class Frame:
    """What a schedule fills in.

    Attributes:
        evaluator: gives the value of any tensor of the dispatch.
        outputs: where each result goes.
        scratch: private memory as ``memref<?xi8>``, or None if none was asked for.
        begin, end: the range of work items to do.
    """

    builder: KernelBuilder
    evaluator: Evaluator
    outputs: list[Buffer]
    scratch: ir.Value | None
    begin: ir.Value
    end: ir.Value


def make_kernel(
    dispatch: Dispatch,
    schedule: str,
    grid: Expr,
    fill: Callable[[Frame], None],
    *,
    scratch: Expr = const(0),
    grain: int = 1,
    note: str = "",
    choices: Mapping[str, int] | None = None,
    declare: Callable[[ir.Module], None] | None = None,
) -> Kernel:
    """Create the kernel function of ``dispatch`` and let ``fill`` emit its body.

    The other arguments are attributes of :class:`iree_core.codegen.kernel.Kernel`; ``declare``
    adds the functions that the body calls. Must run inside the MLIR context of the dispatch.
    """
    name = "kernel"
    module = ir.Module.create()
    dynamic = ir.ShapedType.get_dynamic_size()
    index = ir.IndexType.get()

    def memory(tensor: ir.Value) -> ir.Type:
        return ir.MemRefType.get([dynamic], storage_type(tensor.type.element_type))

    wants_scratch = scratch != const(0)
    byte = ir.IntegerType.get_signless(8)
    kinds = [memory(t) for t in (*dispatch.tensors, *dispatch.results)]
    kinds += [index] * len(dispatch.scalars)
    kinds += [ir.MemRefType.get([dynamic], byte)] if wants_scratch else []
    kinds += [index, index]
    location = dispatch.function.location
    if declare is not None:
        with location:
            declare(module)
    with ir.InsertionPoint(module.body), location:
        function = func.FuncOp(name, ir.FunctionType.get(kinds, []))
        block = function.add_entry_block()
    function.attributes[MAY_ALIAS] = ir.DenseI64ArrayAttr.get(may_alias(dispatch.function))
    arguments = list(block.arguments)
    count = len(dispatch.tensors)
    memories, rest = arguments[: count + len(dispatch.results)], arguments[count:]
    rest = rest[len(dispatch.results) :]
    scalars, rest = rest[: len(dispatch.scalars)], rest[len(dispatch.scalars) :]
    with ir.InsertionPoint(block), location:
        builder = KernelBuilder()

        def buffer(tensor: ir.Value, memory: ir.Value, sizes: tuple) -> Buffer:
            shape: tuple[Scalar, ...] = tuple(emit_size(s, builder, scalars) for s in sizes)
            return Buffer(memory, tensor.type.element_type, shape, layout_of(tensor.type))

        inputs = [
            buffer(t, m, s)
            for t, m, s in zip(dispatch.tensors, memories, dispatch.argument_sizes, strict=False)
        ]
        outputs = [
            buffer(t, m, s)
            for t, m, s in zip(
                dispatch.results, memories[count:], dispatch.result_sizes, strict=True
            )
        ]
        evaluator = Evaluator(builder, dispatch, inputs, scalars)
        fill(Frame(builder, evaluator, outputs, rest[0] if wants_scratch else None, *rest[-2:]))
        func.ReturnOp([])
    if not module.operation.verify():
        raise NotScheduled(f"the {schedule} schedule made invalid code")
    taken = tuple(sorted((choices or {}).items()))
    return Kernel(str(module), name, grid, scratch, max(1, grain), schedule, note, taken)


def may_alias(dispatch: func.FuncOp) -> list[int]:
    """Return which of a kernel's buffers may overlap: operands and the result put over them."""
    if flow.IN_PLACE not in dispatch.attributes:
        return []
    arguments = list(dispatch.regions[0].blocks[0].arguments)
    tensors = [n for n, a in enumerate(arguments) if isinstance(a.type, ir.RankedTensorType)]
    overwritten = [tensors.index(n) for n in dispatch.attributes[flow.IN_PLACE]]
    return [*overwritten, len(tensors)]


def item_grain(elements_per_item: int, weight: float) -> int:
    """Return how many work items are worth another thread.

    Args:
        elements_per_item: result elements of one work item.
        weight: cost of one element relative to an addition.
    """
    return max(1, int(_WORTH_A_THREAD / max(1.0, elements_per_item * weight)))
