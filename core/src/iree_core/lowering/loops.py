"""Sequential programs over tensors: loops, branches, rows, and the op that keeps them together.

Sorting, scanning or scattering is no single ``linalg`` operation. Such a program is emitted as
``scf`` over tensors inside one *atomic* operation, which dispatch creation outlines as a whole::

    %y = scf.execute_region -> tensor<4x?xf32> no_inline {
      %r = scf.forall (%i) in (4) shared_outs(%o = %e) -> tensor<4x?xf32> { ... }
      scf.yield %r : tensor<4x?xf32>
    } {flow.atomic}

Independent rows are an ``scf.forall``, so that a schedule may run them in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import ir, scf, tensor
from iree_core.lowering import index
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import DYNAMIC, Tensor, empty, split_dims, tensor_type

ATOMIC = "flow.atomic"

Values = Sequence[ir.Value]


def atomic(
    results: Sequence[tuple[Sequence[Dim], ElementType]], build: Callable[[], Values]
) -> list[Tensor]:
    """Emit what ``build`` emits as one unit of work; it returns one tensor per entry of
    ``results`` (sizes, which are known outside, and element type)."""
    types = [tensor_type(dims, element) for dims, element in results]
    op = scf.ExecuteRegionOp(types, no_inline=True)
    op.operation.attributes[ATOMIC] = ir.UnitAttr.get()
    with ir.InsertionPoint(op.regions[0].blocks.append()):
        values = [_cast(v, t) for v, t in zip(build(), types, strict=True)]
        scf.YieldOp(values)
    return [
        Tensor(value, tuple(dims), element)
        for value, (dims, element) in zip(op.results, results, strict=True)
    ]


def _cast(value: ir.Value, kind: ir.Type) -> ir.Value:
    return value if value.type == kind else tensor.cast(kind, value)


def for_loop(
    lower: Dim,
    upper: Dim,
    carried: Values,
    body: Callable[[ir.Value, list[ir.Value]], Values],
    step: Dim = 1,
) -> list[ir.Value]:
    """Emit ``scf.for``: ``body(position, carried)`` returns the next carried values."""
    op = scf.ForOp(index.value(lower), index.value(upper), index.value(step), list(carried))
    with ir.InsertionPoint(op.body):
        scf.YieldOp(list(body(op.induction_variable, list(op.inner_iter_args))))
    return list(op.results)


def nest(
    sizes: Sequence[Dim],
    carried: Values,
    body: Callable[[list[ir.Value], list[ir.Value]], Values],
) -> list[ir.Value]:
    """Emit one loop per size, the last innermost: ``body(positions, carried)``."""

    def level(positions: list[ir.Value], values: Values) -> Values:
        if len(positions) == len(sizes):
            return body(positions, list(values))
        return for_loop(
            0, sizes[len(positions)], values, lambda i, inner: level([*positions, i], inner)
        )

    return list(level([], carried))


def while_loop(
    carried: Values,
    condition: Callable[[list[ir.Value]], ir.Value],
    body: Callable[[list[ir.Value]], Values],
) -> list[ir.Value]:
    """Emit ``scf.while``: go on as long as ``condition(carried)``."""
    types = [v.type for v in carried]
    op = scf.WhileOp(types, list(carried))
    locations = [ir.Location.current] * len(types)
    before = op.regions[0].blocks.append(*types, arg_locs=locations)
    with ir.InsertionPoint(before):
        scf.ConditionOp(condition(list(before.arguments)), list(before.arguments))
    after = op.regions[1].blocks.append(*types, arg_locs=locations)
    with ir.InsertionPoint(after):
        scf.YieldOp(list(body(list(after.arguments))))
    return list(op.results)


def branch(condition: ir.Value, then: Callable[[], Values], otherwise: Values) -> list[ir.Value]:
    """Emit ``scf.if``: what ``then`` returns where ``condition`` is set, else ``otherwise``."""
    op = scf.IfOp(condition, [v.type for v in otherwise], has_else=True)
    with ir.InsertionPoint(op.then_block):
        scf.YieldOp(list(then()))
    with ir.InsertionPoint(op.else_block):
        scf.YieldOp(list(otherwise))
    return list(op.results)


def map_rows(
    axis: int,
    inputs: Sequence[Tensor],
    outputs: Sequence[tuple[Dim, ElementType]],
    body: Callable[[list[ir.Value], list[ir.Value]], Values],
) -> list[ir.Value]:
    """Apply ``body`` to every row along ``axis``, in parallel.

    Args:
        inputs: tensors that agree in all sizes but that of ``axis``.
        outputs: row length and element type of each result.
        body: gets the rows of the inputs (1-D tensors) and 1-D tensors to write into; returns
            the latter, written.

    Returns:
        one tensor per output: the inputs' shape with its own length along ``axis``.
    """
    outer = [d for d in range(inputs[0].rank) if d != axis]
    sizes = [inputs[0].dims[d] for d in outer]

    def shape(length: Dim) -> list[Dim]:
        return [*sizes[:axis], length, *sizes[axis:]]

    into = [empty(shape(length), element) for length, element in outputs]
    if not outer:
        return list(body([i.value for i in inputs], into))
    op = scf.ForallOp([0] * len(outer), sizes, [1] * len(outer), into)
    with ir.InsertionPoint(op.body):
        at = list(op.induction_variables)
        rows = [_row(i.value, axis, at, i.dims[axis], i.element) for i in inputs]
        targets = list(op.inner_iter_args)
        places = [
            _row(target, axis, at, length, element)
            for target, (length, element) in zip(targets, outputs, strict=True)
        ]
        made = body(rows, places)
        done = scf.InParallelOp()
    with ir.InsertionPoint(done.block):
        for value, target, (length, _) in zip(made, targets, outputs, strict=True):
            (do, so), (dn, sn), (_, ss) = _row_slice(axis, at, length)
            tensor.ParallelInsertSliceOp(value, target, do, dn, [], so, sn, ss)
    return list(op.results)


def _row_slice(axis: int, at: Sequence[ir.Value], length: Dim) -> tuple:
    offsets: list[Dim] = [*at[:axis], 0, *at[axis:]]
    sizes: list[Dim] = [*([1] * axis), length, *([1] * (len(at) - axis))]
    return split_dims(offsets), split_dims(sizes), split_dims([1] * len(offsets))


def _row(
    source: ir.Value, axis: int, at: Sequence[ir.Value], length: Dim, element: ElementType
) -> ir.Value:
    (do, so), (dn, sn), (_, ss) = _row_slice(axis, at, length)
    kind = tensor_type([length], element)
    return tensor.ExtractSliceOp(kind, source, do, dn, [], so, sn, ss).result


def load(source: ir.Value, *positions: Dim) -> ir.Value:
    """Return one element of a tensor."""
    return tensor.extract(source, [index.value(p) for p in positions])


def store(scalar: ir.Value, into: ir.Value, *positions: Dim) -> ir.Value:
    """Return ``into`` with one element written."""
    return tensor.insert(scalar, into, [index.value(p) for p in positions])


def forward_sizes(module: ir.Module) -> None:
    """Replace every ``tensor.dim`` of an atomic operation's result by the size it is made with.

    That size is a value from outside of the operation, so that it is known without running it.
    """
    found: list[ir.Operation] = []

    def visit(op: ir.OpView) -> ir.WalkResult:
        if op.operation.name == "tensor.dim":
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for op in found:
        source = op.operands[0].owner
        if isinstance(source, ir.Block) or ATOMIC not in source.attributes:
            continue
        position = op.operands[1].owner
        if isinstance(position, ir.Block) or position.name != "arith.constant":
            continue
        dim = ir.IntegerAttr(position.attributes["value"]).value
        size = _size_made_with(op.operands[0], dim)
        if size is not None and not _is_inside(size, source):
            op.results[0].replace_all_uses_with(size)
            op.erase()


# Operands of a loop before the initial values of what it carries.
_LOOP_OPERANDS = {"scf.for": 3, "scf.while": 0}
# The operand that the result of an operation begins as.
_DESTINATION = {"tensor.insert": 1, "tensor.insert_slice": 1, "tensor.cast": 0}


def _size_made_with(value: ir.Value, dim: int) -> ir.Value | None:
    """Follow ``value`` back through destinations to the ``tensor.empty`` it began as."""
    while True:
        op = value.owner
        if isinstance(op, ir.Block):
            return None
        number = ir.OpResult(value).result_number
        if op.name == "tensor.empty":
            dynamic = [d for d, size in enumerate(_shape(value)) if size == DYNAMIC]
            return op.operands[dynamic.index(dim)] if dim in dynamic else None
        if op.name == "scf.execute_region":
            end = list(op.regions[0].blocks[0].operations)[-1].operation
            value = end.operands[number]
        elif op.name in _LOOP_OPERANDS:
            value = op.operands[_LOOP_OPERANDS[op.name] + number]
        elif op.name == "scf.forall" or op.name.startswith("linalg."):
            value = op.operands[len(op.operands) - len(op.results) + number]
        elif op.name in _DESTINATION:
            value = op.operands[_DESTINATION[op.name]]
        else:
            return None


def _shape(value: ir.Value) -> list[int]:
    return list(ir.RankedTensorType(value.type).shape)


def _is_inside(value: ir.Value, op: ir.Operation) -> bool:
    owner = value.owner
    inner = owner.owner.operation if isinstance(owner, ir.Block) else owner.parent
    while inner is not None:
        if inner.operation == op:
            return True
        inner = inner.operation.parent
    return False
